"""A tiny algorithm with SageMaker's container contract; hyperparameters say how it behaves.

train: `lines` numbers of #quality_metric lines; `seconds` to run; `exit_code`; `failure` text for
output/failure; `ignore_sigterm`; `output` text for output/data; `child` starts a process that
outlives it; `count` steps of 0.05 s that a checkpoint keeps; `ledger` file that the job's name
is added to. It writes what it saw of its input to model/seen.json.

serve: answers each record of a payload with `<number of bytes>` lines; the first byte of a
payload decides about failures: "4" answers 400, "5" answers 500, "f" 500 the first two times,
"w" waits, "x" ends the process.
"""

# ruff: noqa: T201 - an algorithm talks through its output

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(os.environ["FMREC_ML_ROOT"])
FLAKY = [1, 2]


def train() -> int:
    config = ROOT / "input/config"
    given = json.loads((config / "hyperparameters.json").read_text())
    if given.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if given.get("child"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"child {child.pid}")
    files = {
        str(path.relative_to(ROOT / "input/data")): path.read_bytes().decode("latin-1")
        for path in sorted((ROOT / "input/data").rglob("*"))
        if path.is_file()
    }
    seen = {
        "files": files,
        "hyperparameters": given,
        "channels": json.loads((config / "inputdataconfig.json").read_text()),
        "resources": json.loads((config / "resourceconfig.json").read_text()),
        "environment": dict(os.environ),
    }
    (ROOT / "model/seen.json").write_text(json.dumps(seen))
    if "ledger" in given:
        with Path(given["ledger"]).open("a") as ledger:
            ledger.write(os.environ["TRAINING_JOB_NAME"] + "\n")
    print(f"pid {os.getpid()}")
    for epoch in range(int(given.get("lines", 1))):
        print(f"#quality_metric: host=algo-1, epoch={epoch}, train rmse <loss>={1 / (epoch + 1)}")
    print("#quality_metric: host=algo-1, test rmse <loss>=0.1", file=sys.stderr)
    if "count" in given:
        count_up(int(given["count"]))
    end = time.monotonic() + float(given.get("seconds", 0))
    while time.monotonic() < end:
        time.sleep(0.02)
    if "output" in given:
        (ROOT / "output/data/extra.txt").write_text(given["output"])
    if "failure" in given:
        (ROOT / "output/failure").write_text(given["failure"])
    return int(given.get("exit_code", 0))


def count_up(most: int) -> None:
    """Count in a checkpoint, from where the last attempt left it."""
    checkpoint = ROOT / "checkpoints/step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    print(f"counting from {first}")
    for step in range(first, most):
        written = checkpoint.with_suffix(".new")
        written.write_text(str(step + 1))
        written.replace(checkpoint)
        time.sleep(0.05)
    (ROOT / "model/counted.json").write_text(json.dumps({"first": first, "last": most}))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        if payload[:1] == b"x":
            os._exit(3)
        if payload[:1] == b"w":
            time.sleep(600)
        status = {b"4": 400, b"5": 500}.get(payload[:1], 200)
        if payload[:1] == b"f" and FLAKY:
            FLAKY.pop()
            status = 500
        body = b"refused\n" if status != 200 else answer(payload, self.headers)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def answer(payload: bytes, headers: object) -> bytes:
    if os.environ.get("TELL_HEADERS"):
        told = {"Content-Type": headers["Content-Type"], "Accept": headers["Accept"]}
        return json.dumps({**told, "bytes": len(payload)}).encode()
    return b"".join(b"%d\n" % len(line) for line in payload.splitlines())


def serve() -> int:
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    print("serving", sorted(path.name for path in (ROOT / "model").iterdir()))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit({"train": train, "serve": serve}[sys.argv[1]]())
