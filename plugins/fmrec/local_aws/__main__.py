"""``python -m fmrec.local_aws``: run the local AWS until it is told to end."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fmrec.errors import FmrecError
from fmrec.local_aws.algorithms import IMAGES, Algorithms
from fmrec.local_aws.image_file import read_images
from fmrec.local_aws.server import LocalAws
from fmrec.local_aws.wire.loopback import is_loopback


def main(
    arguments: Sequence[str] | None = None,
    *,
    algorithms: Algorithms = IMAGES,
    stop_grace: float = 120,
) -> int:
    """Serve until SIGTERM, SIGINT or the parent's end; return the exit code.

    Prints one line on stdout when the server is ready; everything else goes to stderr.
    """
    options = _parser().parse_args(arguments)
    if not options.allow_remote and not is_loopback(options.host):
        return _refuse(
            f"{options.host} is not a loopback address. The local AWS checks no credentials: "
            "whoever reaches it can run code here. Use 127.0.0.1, or say --allow-remote."
        )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    if options.exit_with_parent:
        threading.Thread(target=_wait_for_end_of_input, args=(ending,), daemon=True).start()
    try:
        if options.images is not None:
            algorithms = read_images(options.images, algorithms)
        server = LocalAws(
            options.host,
            options.port,
            options.state,
            algorithms=algorithms,
            allow_remote=options.allow_remote,
            slots=options.jobs,
            stop_grace=stop_grace,
        )
    except FmrecError as error:
        return _refuse(str(error))
    sys.stdout.write(f"local AWS ready on {server.url}, state in {server.state}\n")
    sys.stdout.flush()
    while not ending.wait(1):
        pass  # a signal that another thread took is seen at the latest now
    server.close()
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fmrec.local_aws", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=5566, help="port to listen on, 0 for a free one (%(default)s)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        required=True,
        help="folder that keeps S3 objects, jobs, models and logs; made if missing",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FILE",
        help="TOML file that gives commands to further image repositories",
    )
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=2,
        help="how many jobs run at once; further ones wait (%(default)s)",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen on an address that other machines reach, and answer under any host name; "
        "no credentials are checked",
    )
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="end when standard input ends, that is with the process that holds its other side",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _wait_for_end_of_input(ending: threading.Event) -> None:
    while sys.stdin.buffer.read(1 << 16):
        pass
    ending.set()


if __name__ == "__main__":
    sys.exit(main())
