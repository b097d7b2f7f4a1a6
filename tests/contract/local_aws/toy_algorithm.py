"""A tiny algorithm with SageMaker's container contract; hyperparameters say how it behaves.

train: `lines` numbers of #quality_metric lines; `seconds` to run; `exit_code`; `failure` text for
output/failure; `ignore_sigterm`; `output` text for output/data; `child` starts a process that
outlives it; `count` steps of 0.05 s that a checkpoint keeps; `ledger` file that the job's name
is added to; `x` an objective, told `epochs` times, `pace` seconds apart. It writes what it saw of
its input to model/seen.json.

serve: answers each record of a payload with `<number of bytes>` lines; the first byte of a
payload decides about failures: "4" answers 400, "5" answers 500, "f" 500 the first two times,
"w" waits, "x" ends the process, "m" waits until as many requests as the variable MEET says are
under way. The variable EXECUTION_PARAMETERS is what /execution-parameters answers, SAY an answer
to everything, followed by the process's id; EXIT_CODE ends the server before it serves, LATE is
after how many seconds it begins, PING the status of its health check. It keeps connections, and
gives custom attributes back in capitals.
"""

# ruff: noqa: T201 - an algorithm talks through its output

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(os.environ["FMREC_ML_ROOT"])
FLAKY = [1, 2]
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
MEETING = threading.Barrier(int(os.environ.get("MEET", "1")))


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
    if "x" in given:
        tell_scores(float(given["x"]), int(given.get("epochs", 1)), float(given.get("pace", 0)))
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


def tell_scores(x: float, epochs: int, pace: float) -> None:
    """Print an objective that falls towards x from epoch to epoch, one every `pace` seconds."""
    for epoch in range(1, epochs + 1):
        print(f"score={x + 1 / epoch}")
        time.sleep(pace)


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
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.path == "/execution-parameters"
        body = os.environ.get("EXECUTION_PARAMETERS", "").encode() if asked else b""
        self.send_response(int(os.environ.get("PING", "200")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        payload = self.payload()
        if payload[:1] == b"m":
            MEETING.wait(30)
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
        if "CONTENT_TYPE" in os.environ:
            self.send_header("Content-Type", os.environ["CONTENT_TYPE"])
        if (attributes := self.headers[ATTRIBUTES]) is not None:
            self.send_header(ATTRIBUTES, attributes.upper())
        self.end_headers()
        self.wfile.write(body)

    def payload(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *args: object) -> None:
        pass


def answer(payload: bytes, headers: object) -> bytes:
    if "SAY" in os.environ:
        return f"{os.environ['SAY']} {os.getpid()}".encode()
    if os.environ.get("TELL_HEADERS"):
        told = {"Content-Type": headers["Content-Type"], "Accept": headers["Accept"]}
        told["Transfer-Encoding"] = headers["Transfer-Encoding"]
        told["settings"] = {k: v for k, v in os.environ.items() if k.startswith("SAGEMAKER_")}
        return json.dumps({**told, "bytes": len(payload)}).encode()
    return b"".join(b"%d\n" % len(line) for line in payload.splitlines())


def serve() -> int:
    if "EXIT_CODE" in os.environ:
        print("not today")
        return int(os.environ["EXIT_CODE"])
    time.sleep(float(os.environ.get("LATE", "0")))
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    print("serving", sorted(path.name for path in (ROOT / "model").iterdir()))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
    return 0


def process() -> int:
    given = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
    if given.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    config = {
        path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "config").iterdir())
    }
    out = ROOT / "processing/out"
    host = config["resourceconfig"]["current_host"]
    seen = {
        "files": {
            str(path.relative_to(ROOT / "processing")): path.read_text()
            for path in sorted((ROOT / "processing").rglob("*"))
            if path.is_file() and out not in path.parents
        },
        "folders": sorted(path.name for path in (ROOT / "processing").iterdir()),
        "arguments": sys.argv[2:],
        "root": str(ROOT),
        "pid": os.getpid(),
        "environment": dict(os.environ),
        **config,
    }
    out.mkdir(exist_ok=True)
    (out / f"seen-{host}.json").write_text(json.dumps(seen))
    if "message" in given:
        message = bytes.fromhex(given["message"]) * int(given.get("times", 1))
        (ROOT / "output/message").write_bytes(message)
    if "link" in given:
        (out / "link").symlink_to(given["link"])
    print(f"processing on {host}")
    another_fails = given.get("fail_on", host) != host
    time.sleep(600 if another_fails else float(given.get("seconds", 0)))
    return int(given.get("exit_code", 0))


if __name__ == "__main__":
    sys.exit({"train": train, "serve": serve, "process": process}[sys.argv[1]]())
