"""Text of docs/benchmarks/fm.md."""

from __future__ import annotations

import os
import statistics
import textwrap
from typing import Any

from bench_codec import memory_gib, processor
from bench_fm_inside import FIXED_FACTORS, FIXED_ROWS, PASSES, slope
from bench_fm_processes import (
    ADAM,
    BURN_IN,
    CHAINS,
    FACTORS,
    LIBFM_RATES,
    MEMORY_FACTORS,
    MEMORY_ITEMS,
    MEMORY_USERS,
    MYFM_REQUIREMENTS,
    SWEEPS,
)

Results = dict[str, Any]

# What is compared, in words, and the most that our time may be of theirs.
RIVALS = {
    "adam beside libFM SGD": (
        f"adam, {ADAM['num_factors']} factors, {ADAM['epochs']} passes over ua.base, batches of "
        f"{ADAM['mini_batch_size']}; libFM SGD, as many factors and passes",
        1.0,
    ),
    "mcmc beside libFM MCMC": (
        f"mcmc, u1, users and films, {FACTORS} factors, {CHAINS} chains of {SWEEPS} iterations; "
        f"libFM MCMC, {CHAINS * SWEEPS} iterations",
        1.0,
    ),
    "mcmc beside myFM, ids": (
        f"the same; myFM, Gibbs sampling, {CHAINS * SWEEPS} iterations",
        0.6,
    ),
    "mcmc beside myFM, full": (
        "the same with what is known of users and films and both histories, whole; myFM with "
        "relation blocks",
        0.6,
    ),
}
# What seeds alone make of it.
RMSE_BAR = 0.002
START_BAR = 1.0
MEMORY_BAR = 1.5
MEMORIES = ("memory of adam", "memory of mcmc")
SCALES = ("scale of adam", "scale of mcmc")
PARTS = (*RIVALS, "start", *MEMORIES, *SCALES, "scoring")
AXES = {
    "rows": "rows, 2 non-zeros",
    "factors": "factors, 2 non-zeros",
    "non-zeros": "non-zeros in a row",
}

HEAD = """\
# Training and scoring: time and memory

```sh
python tools/bench_fm.py --libfm ../libfm --myfm
python tools/bench_fm.py --only scale,scoring
python tools/bench_fm.py --guard
```

The first command measures all of this page; with `--only` the named parts (rivals, start, memory,
scale, scoring) are measured anew and the others stay. libFM is taken from a source tree in which
`make` was run; myFM is installed into var/bench-myfm. Neither is a dependency. `make bench` runs
this and the other benchmarks, with libFM when `LIBFM=PATH` is given and with myFM when `MYFM=1` is
given or it is installed, and then the guard.

The guard needs no other program: it measures encoding, decoding, scoring, an epoch of `adam` and
three sweeps of `mcmc`, each side by side with a product of the same rows and a dense matrix by
scipy, and fails, naming the figure, when a ratio is worse than 1.5 times the one in
[guard.json](guard.json). On a machine of another kind record it first:
`python tools/bench_fm.py --guard --record`.
"""

# Heading and text of each part.
WORDS = {
    "Beside libFM and myFM": """\
Whole processes, run in turn, once untimed and then in rounds: start, read, train, predict the test
rows. Both sides have the same rows in the same shuffled order, each in a format of its own (ours
RecordIO files). All sides of mcmc have the same groups of columns. libFM prints the error on
training and test rows after each pass, which it cannot leave out; our adam prints that on training
rows. Our chains run at the same time. A round is a seed. RMSE is on the test rows, predictions
clipped to 1 to 5.""",
    "Start": """\
`python -m fmrec.fm train` with one row, adam, one epoch, compiled code at hand.""",
    "Memory": f"""\
The most that a whole training process held, beside the size of its train channel: rows of 2
non-zeros, {MEMORY_USERS:,} users and {MEMORY_ITEMS:,} films; adam with {MEMORY_FACTORS} factors,
mcmc with {FACTORS}.""",
    "By size": f"""\
Time of training in one process, without its start and without reading: adam {PASSES["adam"]} epoch
in batches of 1,000, mcmc one chain of {PASSES["mcmc"]} iterations and the model made of them. Rows
are random, with 6,000 users and 4,000 films; where rows have more non-zeros, the others share the
columns of the films. With the number of factors or non-zeros varied there are
{FIXED_ROWS["adam"]:,} rows (mcmc: {FIXED_ROWS["mcmc"]:,}), else {FIXED_FACTORS["adam"]} factors
(mcmc: {FIXED_FACTORS["mcmc"]}). Microseconds for a row; the exponent is b of the curve a x size^b
that fits the whole time best: 1 is linear growth.""",
    "Scoring": """\
One thread, one file of RecordIO rows: thousand rows/s of reading it into a matrix, of reading and
scoring, of reading, scoring and writing JSON lines; and what share of its rate reading keeps when
scores come with it. 90,000 rows of 2 non-zeros are as large as a request may be, some 6 MB.
Requests of few non-zeros times factors are scored by numpy, larger ones by compiled code.""",
}


def lines(results: Results) -> list[str]:
    """Return the page for what was measured."""
    text = [*HEAD.splitlines(), ""]
    text += [f"- {processor()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB"]
    text += ["- " + ", ".join(sorted({_versions(each) for each in results.values()}))]
    text += ["- figures are medians (lowest to highest), ratios are paired by round", ""]
    text += ["| asked for | measured | holds |", "|---|--:|---|"]
    for asked, measured, bar in bars(results):
        verdict = "yes" if measured <= bar else "**no**"
        digits = 2 if bar >= 0.1 else 4
        text.append(f"| {asked} | {measured:.{digits}f} | {verdict} |")
    parts = (
        (RIVALS, _rivals),
        (("start",), _start),
        (MEMORIES, _memory),
        (SCALES, _scale),
        (("scoring",), _scoring),
    )
    for (heading, words), (names, table) in zip(WORDS.items(), parts, strict=True):
        found = {name: results[name] for name in names if name in results}
        if found:
            wrapped = textwrap.wrap(words, 100, break_on_hyphens=False)
            text += ["", f"## {heading}", "", *wrapped, "", *table(found)]
    return text


def bars(results: Results) -> list[tuple[str, float, float]]:
    """Return what was asked for: in words, what was measured, the most that it may be."""
    found = []
    for name, (_, bar) in RIVALS.items():
        if name in results:
            samples = results[name]["samples"]
            ratio = statistics.median(ratios(samples))
            found.append((f"{name}: ratio at most {bar}", ratio, bar))
            ours, theirs = (
                statistics.median(each["rmse"] for each in side) for side in samples.values()
            )
            asked = f"{name}: RMSE above theirs by no more than {RMSE_BAR}"
            found.append((asked, ours - theirs, RMSE_BAR))
    if "start" in results:
        spent = statistics.median(each["seconds"] for each in results["start"]["samples"])
        found.append((f"a job of one row within {START_BAR:g} s", spent, START_BAR))
    for name in MEMORIES:
        if name in results:
            ratio = results[name]["peak"] / results[name]["channel"]
            found.append((f"{name} within {MEMORY_BAR} times the data", ratio, MEMORY_BAR))
    return found


def ratios(samples: dict[str, list[dict[str, float]]]) -> list[float]:
    """Return our seconds by theirs, round by round."""
    ours, theirs = ([each["seconds"] for each in side] for side in samples.values())
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _rivals(results: Results) -> list[str]:
    text = [
        "| | seconds, ours | theirs | ratio | RMSE, ours | theirs | MiB, ours | theirs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in results.items():
        ours, theirs = found["samples"].values()
        cells = [f"{name}: {RIVALS[name][0]}"]
        cells += [spread([each["seconds"] for each in side]) for side in (ours, theirs)]
        cells += [spread(ratios(found["samples"]))]
        cells += [spread([each["rmse"] for each in side], 4) for side in (ours, theirs)]
        peaks = [statistics.median(each["peak"] for each in side) for side in (ours, theirs)]
        text.append(f"| {' | '.join(cells)} | {peaks[0]:.0f} | {peaks[1]:.0f} |")
    settings = ", ".join(f"{name} {value}" for name, value in ADAM.items())
    note = (
        f"{_measured(results)}. myFM is {MYFM_REQUIREMENTS[0]}, in the same Python. Burn-in: "
        f"{BURN_IN} iterations of each of our chains, {BURN_IN} in all of myFM, none of libFM. "
        f"adam: {settings}; libFM SGD: {LIBFM_RATES}."
    )
    return [*text, "", *textwrap.wrap(note, 100, break_on_hyphens=False)]


def _start(results: Results) -> list[str]:
    found = results["start"]
    spent = [each["seconds"] for each in found["samples"]]
    return [f"{spread(spent)} s, {len(spent)} runs. {_measured(results)}."]


def _memory(results: Results) -> list[str]:
    text = [
        "| | rows | channel, MiB | peak, MiB | ratio | peak with one row, MiB | ratio without it |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in results.items():
        solver = name.removeprefix("memory of ")
        chains = f", {found['chains']} chains" if "chains" in found else ""
        text.append(
            f"| {solver}{chains} | {found['rows']:,} | {found['channel']:.0f} | "
            f"{found['peak']:.0f} | {found['peak'] / found['channel']:.2f} | "
            f"{found['one row']:.0f} | "
            f"{(found['peak'] - found['one row']) / found['channel']:.2f} |"
        )
    return [*text, "", f"{_measured(results)}."]


def _scale(results: Results) -> list[str]:
    text = []
    for axis, words in AXES.items():
        table: dict[str, dict[int, list[float]]] = {}
        exponents = {}
        for name, found in results.items():
            solver = name.removeprefix("scale of ")
            times: dict[int, list[float]] = {}
            for number in found["rounds"]:
                for each, size, spent in number:
                    if each == axis:
                        times.setdefault(size, []).append(spent)
            middle = [statistics.median(spent) for spent in times.values()]
            exponents[solver] = slope(list(times), middle)
            table[solver] = {
                size: [each / (size if axis == "rows" else FIXED_ROWS[solver]) for each in spent]
                for size, spent in times.items()
            }
        sizes = next(iter(table.values()))
        text += [f"| {words} | {' | '.join(table)} |", f"|--:|{'--:|' * len(table)}"]
        for size in sizes:
            cells = [spread([each * 1e6 for each in column[size]]) for column in table.values()]
            text.append(f"| {size:,} | {' | '.join(cells)} |")
        cells = [f"**{exponent:.2f}**" for exponent in exponents.values()]
        text += [f"| exponent | {' | '.join(cells)} |", ""]
    return [*text, f"{_measured(results)}."]


def _scoring(results: Results) -> list[str]:
    found = results["scoring"]
    text = [
        "| rows | non-zeros | factors | read | read and score | share | with JSON lines |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in zip(*found["rounds"], strict=True):
        read, scored, answered = ([each[n] / 1e3 for each in case] for n in (3, 4, 5))
        share = [b / a for a, b in zip(read, scored, strict=True)]
        text.append(
            f"| {case[0][0]:,} | {case[0][1]} | {case[0][2]} | {spread(read, 0)} | "
            f"{spread(scored, 0)} | {spread(share)} | {spread(answered, 0)} |"
        )
    return [*text, "", f"{_measured(results)}."]


def _measured(results: Results) -> str:
    dates = sorted({found["date"] for found in results.values()})
    loads = [found["load"] for found in results.values() if "load" in found]
    rounds = {
        len(found["rounds"]) if "rounds" in found else len(next(iter(found["samples"].values())))
        for name, found in results.items()
        if "rounds" in found or name in RIVALS
    }
    text = " and ".join(dates)
    if rounds:
        text += f", {' or '.join(map(str, sorted(rounds)))} rounds"
    if loads:
        text += f", load average at start {max(loads):.1f}"
    return text


def _versions(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def spread(values: list[float], digits: int = 2) -> str:
    """Return median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"**{middle:,.{digits}f}** ({low:,.{digits}f} to {high:,.{digits}f})"
