"""The process that runs an answer: a task as JSON on standard input, its results on standard output.

The task names the calls but not what they should return. See `sandbox.py`, which starts this.
"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

# What an answer may import. It is loaded beforehand: after that no file can be opened any more, not
# the dataset either, in which the answers are.
MODULES = ("collections", "functools", "itertools", "math", "re", "string", "typing")
LIMITS = {
    resource.RLIMIT_NOFILE: 0,
    resource.RLIMIT_CPU: 2,  # seconds
    resource.RLIMIT_AS: 512 * 1024**2,
    resource.RLIMIT_FSIZE: 64 * 1024,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}
# Python tells of all that reaches out of it, by name and beforehand. An answer may only compute: one
# that made folders, or ended the process that grades it, would get no grade instead of a bad one.
HARMLESS = frozenset({"builtins.id", "compile", "exec", "import", "sys._getframe"})


def main() -> None:
    """Define the function and make the calls, after all that can be done is limited."""
    task = json.load(sys.stdin)
    results = keep_standard_output()
    for module in MODULES:
        importlib.import_module(module)
    for limit, value in LIMITS.items():
        lower_limit(limit, value)
    sys.addaudithook(refuse)
    names: dict[str, Any] = {}
    exec(compile(task["source"], "<answer>", "exec"), names)
    values = [call(names[task["function"]], arguments) for arguments in task["calls"]]
    os.write(results, f"[{', '.join(values)}]".encode())
    os._exit(0)  # whatever the answer left to be done on the way out is not done


def keep_standard_output() -> int:
    """Return a way to standard output that `print` does not write to."""
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return kept


def lower_limit(limit: int, value: int) -> None:
    """Lower a limit for good; one that is lower already stays."""
    _, hard = resource.getrlimit(limit)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (bound, bound))


def refuse(event: str, _arguments: tuple[object, ...], harmless: frozenset[str] = HARMLESS) -> None:
    """Stop what is about to be done, unless it is harmless; a default is out of an answer's reach."""
    if event not in harmless:
        raise PermissionError(f"an answer may not do this: {event}")


def call(function: Callable[..., object], arguments: list[object]) -> str:
    """Return what the function returns as JSON; of one that fails, an object, which is never right."""
    try:
        return json.dumps(function(*arguments))
    except BaseException as error:
        return json.dumps({"failed": type(error).__name__})


if __name__ == "__main__":
    main()
