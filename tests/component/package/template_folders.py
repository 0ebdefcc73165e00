"""Templates written out and loaded, with a judge for those that ask one."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from freesolo.package.templates import find_template, write_environment
from freesolo.runtime.client import EnvironmentHost, HostOptions, open_host
from freesolo.runtime.episodes import Ask

KEY = "key-of-a-judge"


class ScriptedJudge:
    """A server that speaks OpenAI's API: it gives its replies in turn, the last one again and again.

    A reply is what the model says, or the status of an error.
    """

    def __init__(self, *replies: str | int) -> None:
        self._replies = list(replies)
        self.requests: list[Mapping[str, Any]] = []
        self.keys: list[str | None] = []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                judge.requests.append(json.loads(body))
                judge.keys.append(self.headers["Authorization"])
                reply = judge.next_reply()
                document = {"choices": [{"message": {"role": "assistant", "content": reply}}]}
                content = json.dumps(document).encode()
                self.send_response(200 if isinstance(reply, str) else reply)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def next_reply(self) -> str | int:
        """Return what is to be said now."""
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class PoliteJudge(ScriptedJudge):
    """A judge who looks for polite words, of which a blunt request has none."""

    def next_reply(self) -> str:
        """Grade the candidate that was sent last."""
        candidate = json.loads(self.requests[-1]["messages"][-1]["content"])["candidate"]
        polite = any(word in candidate.lower() for word in ("please", "kind", "grateful"))
        return "5" if polite else "2"


def write_template(name: str, folder: Path, *, rows: int | None = None, judge_url: str) -> Path:
    """Write a template as `local/<its name>`, with the first `rows` of its training rows, or all."""
    write_environment(find_template(name), folder, name=name, org="local")
    for config in (folder / "configs").iterdir():
        config.write_text(config.read_text().replace("https://api.openai.com/v1", judge_url))
    train = folder / "dataset" / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:rows]))
    return folder


def secrets_of(name: str) -> dict[str, str]:
    """Return the secrets that a template declares."""
    return {"JUDGE_API_KEY": KEY} if name == "judge" else {}


@contextmanager
def open_template(
    name: str, folder: Path, options: HostOptions, *, judge_url: str
) -> Iterator[EnvironmentHost]:
    """Load a template in a host of its own."""
    params = {"judge_url": judge_url} if name == "judge" else {}
    write_template(name, folder, judge_url=judge_url)
    with open_host(folder, options, params=params, secrets=secrets_of(name)) as host:
        yield host


def saying(*actions: str) -> Ask:
    """Return a model that takes these actions in turn, and the last one again and again."""
    left = list(actions)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def spoken(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the model says in some messages."""
    return [message["content"] for message in messages if message["role"] == "assistant"]
