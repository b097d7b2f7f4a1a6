"""What is typed reaches the commands, and what is wrong shows before anything starts."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from fmrec.cli import arguments, backfill, main, status


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `backfill` was told."""
    told: list[Any] = []
    monkeypatch.setattr(backfill, "run", lambda *given: told.append(given))
    return told


def test_a_backfill_gets_typed_params_and_days(asked: list[Any]) -> None:
    words = "backfill --from 1998-03-01 --to 1998-03-07 --epochs 5 --objective like"
    assert main.main(words.split()) == 0
    assert main.main([*words.split(), "--max-active-runs", "3"]) == 0
    params = {"epochs": 5, "objective": "like"}
    days = date(1998, 3, 1), date(1998, 3, 7)
    assert asked == [(params, *days, None), (params, *days, 3)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--from 1998-03-01", "required: --to"),
        ("--from yesterday --to 1998-03-07", "'yesterday' is not a day like 2026-03-08"),
        ("--from 1998-03-01 --to 1998-03-07 --max-active-runs 0", "is not a number from 1 on"),
        ("--from 1998-03-01 --to 1998-03-07 --as-of 1998-03-01", "unrecognized arguments: --as-of"),
    ],
)
def test_days_that_are_none_are_told(
    words: str, said: str, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.main(["backfill", *words.split()])
    assert said in capsys.readouterr().err
    assert asked == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--epochs -1", "parameter epochs: '-1' is not allowed"),
        ("--only x=1", "parameter only: at"),
    ],
)
def test_a_setting_that_is_wrong_starts_nothing(
    words: str, said: str, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main.main(["backfill", "--from", "1998-03-01", "--to", "1998-03-07", *words.split()]) == 1
    )
    assert f"fmrec: {said}" in capsys.readouterr().err
    assert asked == []


def test_status_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(status, "show", lambda: shown.append("shown"))
    assert main.main(["status"]) == 0
    assert shown == ["shown"]


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    class Every(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            self[name] = SimpleNamespace(__doc__=f"Do {name}.")
            return self[name]

    every = Every()
    arguments.parser(every)
    assert set(every) == set(main._COMMANDS)
    for name in every:
        with pytest.raises(SystemExit) as left:
            main.main([name, "--help"])
        assert left.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert text.startswith(f"usage: fmrec {name} ")
        assert len(text) > 80, text
