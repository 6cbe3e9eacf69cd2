"""Run the loopback hub as a process: ``python -m zooalign.testing``."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from zooalign.testing.hub import LoopbackHub

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line of JSON (``endpoint``, ``token``, ``env``), serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m zooalign.testing", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: a free one)")
    parser.add_argument("--root", type=Path, help="folder to keep the repositories in")
    parser.add_argument("--token", help="the token to accept (default: a random one)")
    parser.add_argument("--user", default="tester", help="name of the token's user")
    parser.add_argument("--org", action="append", default=[], help="organisation of the user")
    parser.add_argument("--part-size", type=int, help="upload larger LFS files in such parts")
    parser.add_argument("--no-xet", action="store_true", help="serve large files by LFS only")
    args = parser.parse_args(argv)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    hub = LoopbackHub(
        args.root,
        token=args.token,
        user=args.user,
        orgs=args.org,
        port=args.port,
        part_size=args.part_size,
        xet=not args.no_xet,
    )
    with hub:
        line = {"endpoint": hub.endpoint, "token": hub.token, "env": hub.env()}
        print(json.dumps(line), flush=True)
        end.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
