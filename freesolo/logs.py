"""Logging for processes: lines for people on a terminal, one JSON object a line in services.

Only a process entry point calls `configure_logging`. Messages are constants; facts go in `extra`.
Never log a key, a prompt or a completion.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
run_id: ContextVar[str | None] = ContextVar("run_id", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's copy of the message with colours in it
}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, variable in (("request_id", request_id), ("run_id", run_id)):
            if variable.get() is not None:
                entry[name] = variable.get()
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class _TerminalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        details = "".join(f" {key}={value}" for key, value in facts.items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:7} {record.getMessage()}{details}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str = "INFO") -> None:
    """Send this process's log to standard error, in the form that fits what is at the other end."""
    handler = logging.StreamHandler()
    handler.setFormatter(_TerminalFormatter() if sys.stderr.isatty() else _JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # One line a request is ours to write, not the HTTP client's.
    logging.getLogger("httpx").setLevel(logging.WARNING)
