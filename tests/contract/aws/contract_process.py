"""A processing job's program: counts the lines of its input, or fails, or runs on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("FMREC_ML_ROOT", "/opt/ml"))


def main() -> int:
    """Do what the first argument says."""
    match sys.argv[1:]:
        case ["fail"]:
            (ROOT / "output").mkdir(parents=True, exist_ok=True)
            (ROOT / "output" / "message").write_text("no such user")
            return 3
        case ["wait"]:
            time.sleep(3600)
    files = sorted(path for path in (ROOT / "processing/in").rglob("*") if path.is_file())
    counts = {path.name: len(path.read_text().splitlines()) for path in files}
    counts[os.environ["COLOUR"]] = len(sys.argv)
    (ROOT / "processing/out/counts.json").write_text(json.dumps(counts))
    sys.stdout.write(f"counted {len(files)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
