"""Child processes that answer one question: only they import what is heavy, or reaches the network.

The question goes in on standard input, so that a secret in it is in no command line and no
environment; the answer is the last line of standard output.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import BaseModel

from freesolo.errors import FreesoloError, Unavailable, from_wire

Question = TypeVar("Question", bound=BaseModel)
Answer = TypeVar("Answer", bound=BaseModel)


def ask(
    module: str,
    question: BaseModel,
    answer: type[Answer],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Answer:
    """Run `python -m module` and return its answer; raise the error that it answers with.

    Raise `Unavailable` if it ends without one, or has none after `timeout` seconds.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", module],
            input=question.model_dump_json(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            # Its search paths and proxies.
            env={**os.environ, **(env or {})},  # noqa: TID251 - handed on, not read
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"`python -m {module}` had no answer after {timeout:g} seconds."
        ) from None
    lines = child.stdout.splitlines()
    if child.returncode != 0 or not lines:
        said = child.stderr.strip().splitlines() or [f"exit code {child.returncode}"]
        raise Unavailable(
            f"`python -m {module}` failed: {said[-1]}.",
            hint="`pip install 'freesolo[train]'` installs what it needs.",
        )
    document = json.loads(lines[-1])
    if "error" in document:
        raise from_wire(document, FreesoloError.http_status)
    return answer.model_validate(document)


def reply(question: type[Question], respond: Callable[[Question], BaseModel]) -> None:
    """Answer the question on standard input; what a child's module does when it is run."""
    try:
        document = respond(question.model_validate_json(sys.stdin.read())).model_dump(mode="json")
    except FreesoloError as error:
        document = error.to_wire()
    # Whatever a library has written before stands in lines of its own.
    sys.stdout.write(f"\n{json.dumps(document)}\n")
