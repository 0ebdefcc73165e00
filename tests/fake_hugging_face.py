"""A stand-in for the Hugging Face hub, as far as its client asks to fetch a model.

It serves commits of repositories over HTTP on loopback, keeps what it was asked, and can break a
download off or spoil it.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"

_INFO = re.compile(r"/api/models/([^/]+/[^/]+)/revision/(.+)")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/(.+)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    token: str | None
    range: str | None


@dataclass
class FakeHuggingFace:
    """Repositories by id, each one commit on `main`; `gated` ones want the token."""

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    parameters: int | None = 90_624
    gated: set[str] = field(default_factory=set)
    token: str = "hf_good_secret"
    # Bytes after which the next download of a file of this name ends.
    breaks: dict[str, int] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)
    status: int | None = None
    asked: list[Asked] = field(default_factory=list)

    def add(self, repo: str, folder: Path, **more: bytes) -> None:
        """Publish the files of a folder."""
        self.repos[repo] = {path.name: path.read_bytes() for path in folder.iterdir()} | more

    def fetched(self) -> list[str]:
        """Return the names of the files whose content was asked for, sorted."""
        found = (_FILE.fullmatch(each.path) for each in self.asked if each.method == "GET")
        return sorted({match[3] for match in found if match})


@contextmanager
def hugging_face() -> Iterator[FakeHuggingFace]:
    """Serve a hub without repositories until the block ends."""
    state = FakeHuggingFace()

    class Handler(_Handler):
        hub = state

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHuggingFace

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.hub.asked.append(Asked(self.command, path, token, self.headers.get("Range")))
        if self.hub.status is not None:
            return self._refuse(self.hub.status, "Broken")
        match = _INFO.fullmatch(path) or _TREE.fullmatch(path) or _FILE.fullmatch(path)
        if match is None:
            return self._refuse(404, "EntryNotFound")
        if (files := self.hub.repos.get(match[1])) is None:
            return self._refuse(401 if token is None else 404, "RepoNotFound")
        if match[1] in self.hub.gated and token != self.hub.token:
            return self._refuse(403, "GatedRepo")
        if match[2] not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if match.re is _FILE:
            return self._send_file(match[3], files[match[3]], with_body=with_body)
        listed = [_description(name, content) for name, content in files.items()]
        return self._send_json(listed if match.re is _TREE else self._information(match[1], listed))

    def _information(self, repo: str, files: list[dict[str, Any]]) -> dict[str, object]:
        total = self.hub.parameters
        return {
            "id": repo,
            "sha": COMMIT,
            "private": False,
            "downloads": 0,
            "tags": [],
            "siblings": [{**file, "rfilename": file["path"]} for file in files],
            "safetensors": None
            if total is None
            else {"parameters": {"F32": total}, "total": total},
        }

    def _send_file(self, name: str, content: bytes, *, with_body: bool) -> None:
        sent = content
        if name in self.hub.spoiled:
            sent = content[::-1]
        begin = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") :].split("-")[0])
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._begin(206 if begin else 200, len(content) - begin, headers)
        if with_body:
            end = self.hub.breaks.pop(name, None)
            self.wfile.write(sent[begin:end])

    def _send_json(self, document: object) -> None:
        body = json.dumps(document).encode()
        self._begin(200, len(body), {"Content-Type": "application/json"})
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._begin(status, 0, {"X-Error-Code": code, "X-Error-Message": code})

    def _begin(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _description(name: str, content: bytes) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": "0" * 40,
    }
    if name.endswith(".safetensors"):
        described["lfs"] = {
            "oid": _digest(content),
            "sha256": _digest(content),
            "size": len(content),
            "pointerSize": 130,
        }
    return described


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
