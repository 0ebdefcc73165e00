"""Call a function that somebody else wrote, in a process that can do little and not for long.

That process runs `runner.py`. It sends back what the calls returned, as JSON, and is trusted with
nothing: it can only be right by returning what it should.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

RUNNER = Path(__file__).with_name("runner.py")
SECONDS = 3
FAILED = {"failed": True}  # stands for a call without a result; no function of ours returns it


def call_function(source: str, function: str, calls: list[list[object]]) -> list[object]:
    """Return what each call of `function`, which `source` defines, gave; `FAILED` for nothing."""
    task = json.dumps({"source": source, "function": function, "calls": calls})
    # Into a file, not a pipe: its size has a limit, and nothing that is left behind can hold it.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(RUNNER)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(task.encode(), timeout=SECONDS)
        finally:
            # Whatever it started is in its session, and ends with it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return read_results(output.read(), len(calls))


def read_results(output: bytes, count: int) -> list[object]:
    """Return the `count` values in `output`; a process that was stopped left none."""
    try:
        values = json.loads(output)
    except (ValueError, RecursionError):
        values = None
    return values if isinstance(values, list) and len(values) == count else [FAILED] * count
