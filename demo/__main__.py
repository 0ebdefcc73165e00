"""`python -m demo`: walk the loop, write `build/demo/`, show the report."""

import os
import sys
from pathlib import Path

from rich.console import Console

from demo.loop import StepFailed, walk
from demo.report import learned, show, write
from freesolo.supervisor import interrupt_on_sigterm

BUILD = Path("build")


def main() -> int:
    """Run the demo; return 0 if each adapter is better than what it began from, beyond doubt."""
    # The commands inherit the caller's environment, but never the way to a platform of the caller's.
    environ = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251
        if not name.startswith("FREESOLO_")
    }
    interrupt_on_sigterm()
    try:
        report = walk(environ, cache_dir=(BUILD / "cache").resolve())
    except StepFailed as failure:
        Console(stderr=True).print(f"[bold red]The demo stopped: {failure}.")
        return 1
    write(report, BUILD / "demo")
    show(report)
    if not learned(report):
        Console(stderr=True).print("[bold red]An adapter is not better than what it began from.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
