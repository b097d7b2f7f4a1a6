"""Resolve requirements*.in into the lock files that plain pip installs (`make lock`).

One resolution cannot serve 3.11 to 3.13: the SageMaker SDK and Airflow disagree on
importlib-metadata from Python 3.12 on. So each supported minor version is resolved by
itself with uv, and the pins are merged; a pin that not every version shares carries a
`python_version` marker.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")


def resolve(source: Path, version: str) -> dict[str, str]:
    """The pins of one input file for one Python version, as {name: "name==pin"}."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--upgrade",
    ]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--python-version", version]
    found = subprocess.run(
        [*command, source.name], cwd=source.parent, check=True, capture_output=True, text=True
    )
    pins = {}
    for line in found.stdout.splitlines():
        requirement = line.split(";")[0].strip()
        if "==" in requirement:
            pins[requirement.split("==")[0].split("[")[0]] = requirement
        elif requirement and not requirement.startswith("#"):
            raise SystemExit(f"{source.name}: cannot read the resolver's line {line!r}")
    return pins


def marker(versions: tuple[str, ...]) -> str:
    """The shortest python_version marker for a non-empty subset of VERSIONS."""
    if versions == VERSIONS:
        return ""
    if versions == VERSIONS[: len(versions)]:
        return f' ; python_version < "{VERSIONS[len(versions)]}"'
    if versions == VERSIONS[-len(versions) :]:
        return f' ; python_version >= "{versions[0]}"'
    return " ; " + " or ".join(f'python_version == "{version}"' for version in versions)


def elsewhere(source: Path) -> dict[str, str]:
    """The markers that an input file gives its own requirements: what not every platform has."""
    pairs = [line.partition(";") for line in source.read_text().splitlines()]
    return {name.strip(): own.strip() for name, _, own in pairs if "platform" in own}


def merge(source: Path, known: set[str]) -> list[str]:
    """Lock lines of one input file, without the lines already in `known`."""
    by_pin: dict[tuple[str, str], list[str]] = {}
    for version in VERSIONS:
        for name, pin in resolve(source, version).items():
            by_pin.setdefault((name, pin), []).append(version)
    own = elsewhere(source)
    lines = []
    for (name, pin), versions in sorted(by_pin.items()):
        python = marker(tuple(versions)).removeprefix(" ; ")
        markers = " and ".join(filter(None, (python, own.get(name))))
        lines.append(f"{pin} ; {markers}" if markers else pin)
    return [line for line in lines if line not in known]


def main() -> int:
    """Write requirements.txt, requirements-dev.txt on top of it, and what the SDK's own needs."""
    runtime: list[str] = []
    for name in ("requirements", "requirements-dev"):
        lines = merge(ROOT / f"{name}.in", set(runtime))
        head = f"# Made from {name}.in by `make lock` for Python 3.11 to 3.13: do not edit."
        (ROOT / f"{name}.txt").write_text("\n".join([head, *lines]) + "\n")
        runtime = runtime or lines
        print(f"{name}.txt: {len(lines)} pins")
    clients = ROOT / "tests" / "e2e" / "sdk" / "requirements.in"
    lines = merge(clients, set())
    head = "# Made from requirements.in by `make lock` for Python 3.11 to 3.13: do not edit."
    clients.with_suffix(".txt").write_text("\n".join([head, *lines]) + "\n")
    print(f"{clients.relative_to(ROOT).with_suffix('.txt')}: {len(lines)} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main())
