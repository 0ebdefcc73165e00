"""The one shape of every error on the wire; `freesolo.errors` writes and reads it."""

from freesolo.schemas.base import Wire


class ProblemView(Wire):
    """One thing wrong with an input."""

    path: str
    message: str
    code: str


class ErrorView(Wire):
    """What went wrong, and what to do. `code` is stable; docs/reference/errors.md lists all."""

    code: str
    message: str
    hint: str | None = None
    problems: list[ProblemView]
    retry_after: float | None = None
    traceback: str | None = None


class ErrorAnswer(Wire):
    """The envelope."""

    error: ErrorView
