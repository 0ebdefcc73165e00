"""What an engine's middleware reads from answers on their way out."""

import asyncio
import json
from pathlib import Path

import pytest

from serving_backend.engine_journal import (
    METER_HEADER,
    UNBILLED_PATH,
    Message,
    Receive,
    Scope,
    Send,
    UsageJournal,
)

_CHAT = "/v1/chat/completions"
_USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
_COUNTS = json.dumps({"choices": [], "usage": _USAGE})


def _answered(folder: Path, *events: str, meter: str | None = '{"org": "acme"}') -> UsageJournal:
    """Let an engine answer with a stream of these events; return its middleware."""

    async def engine(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in (*events, "[DONE]"):
            body = f"data: {event}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    journal = UsageJournal(engine, folder)
    headers = [(b"x-request-id", b"a")]
    if meter is not None:
        headers.append((METER_HEADER.encode(), meter.encode()))
    _serve(journal, {"type": "http", "path": _CHAT, "headers": headers})
    return journal


def _serve(journal: UsageJournal, scope: Scope) -> bytes:
    """Return the body of its answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(journal(scope, receive, send))
    return b"".join(message.get("body", b"") for message in sent)


def _unbilled(journal: UsageJournal) -> object:
    unbilled: object = json.loads(
        _serve(journal, {"type": "http", "path": UNBILLED_PATH, "headers": []})
    )
    return unbilled


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"content": "usage"}},
        {"delta": {}, "logprobs": {"content": [{"top_logprobs": [{"token": "usage"}]}]}},
        {"delta": {"tool_calls": [{"function": {"name": "usage"}}]}},
    ],
)
def test_a_model_may_say_usage(tmp_path: Path, choice: dict[str, object]) -> None:
    _answered(tmp_path, json.dumps({"choices": [choice]}), _COUNTS)
    account = json.loads((tmp_path / "closed" / "a").read_text())
    assert account == {"meter": {"org": "acme"}, "usage": _USAGE}


def test_an_answer_without_counts_is_one_that_nobody_knows(tmp_path: Path) -> None:
    _answered(tmp_path, json.dumps({"choices": [{"delta": {"content": "a"}}]}))
    assert json.loads((tmp_path / "closed" / "a").read_text())["usage"] is None
    assert not list((tmp_path / "open").iterdir())


def test_what_trials_take_is_nobody_s_account_and_told(tmp_path: Path) -> None:
    journal = _answered(tmp_path, _COUNTS, meter=None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert _unbilled(journal) == _USAGE
