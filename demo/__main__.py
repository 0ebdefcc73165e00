"""`python -m demo`: walk the loop, write `build/demo/`, show the report."""

import os
import sys
from pathlib import Path

from rich.console import Console

from demo.loop import StepFailed, walk
from demo.report import learned, show, write

BUILD = Path("build")


def main() -> int:
    """Run the demo; return 0 if the adapter is better than the base model beyond doubt."""
    environ = dict(os.environ)  # noqa: TID251 - the commands inherit the caller's environment
    try:
        report = walk(environ, cache_dir=(BUILD / "cache").resolve())
    except StepFailed as failure:
        Console(stderr=True).print(f"[bold red]The demo stopped: {failure}.")
        return 1
    write(report, BUILD / "demo")
    show(report)
    if not learned(report):
        Console(stderr=True).print("[bold red]The adapter is not better than the base model.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
