"""freesolo.OpenAI and freesolo.AsyncOpenAI, with the official package against a server that listens."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

import freesolo
from freesolo.config import CredentialStore, Profile
from freesolo.openai_client import AsyncOpenAI, FreesoloConfig, OpenAI
from tests.contract.environment.clauses import clause
from tests.hubs import LiveHub

MESSAGES: Any = [{"role": "user", "content": "hello"}]
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
}


@dataclass(frozen=True)
class Heard:
    """One request as the server got it; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Gateway:
    """A server on this machine that answers every request, and keeps what it heard."""

    url: str
    heard: list[Heard] = field(default_factory=list)

    @property
    def last(self) -> Heard:
        return self.heard[-1]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            listening.heard.append(Heard(self.path, headers, body))
            answer = json.dumps(COMPLETION).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listening = Gateway(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield listening
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables as in a shell where nobody has set up anything, neither here nor for OpenAI."""
    for name in ("API_KEY", "BASE_URL", "PROJECT_ID", "HUB_URL", "ORG"):
        monkeypatch.delenv(f"FREESOLO_{name}", raising=False)
    for name in ("API_KEY", "ADMIN_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    monkeypatch.setenv("FREESOLO_HOME", str(tmp_path / "home"))


def complete(client: OpenAI, **arguments: Any) -> None:  # noqa: ANN401
    with client:
        client.chat.completions.create(model="m", messages=MESSAGES, **arguments)


def complete_later(client: AsyncOpenAI, **arguments: Any) -> None:  # noqa: ANN401
    async def ask() -> None:
        async with client:
            await client.chat.completions.create(model="m", messages=MESSAGES, **arguments)

    asyncio.run(ask())


both_clients = pytest.mark.parametrize(
    ("client_class", "ask"), [(OpenAI, complete), (AsyncOpenAI, complete_later)]
)
Ask = Callable[..., None]


@clause("C10.1", "C10.2", "C10.7")
@both_clients
def test_a_completion_goes_to_the_gateway_with_the_key(
    gateway: Gateway, client_class: type[Any], ask: Ask
) -> None:
    ask(client_class(api_key="fs-1", base_url=gateway.url))

    assert gateway.last.path == "/v1/chat/completions"
    assert gateway.last.headers["authorization"] == "Bearer fs-1"
    assert gateway.last.body == {"model": "m", "messages": MESSAGES, "store": True}


@clause("C10.2")
@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "//"])
def test_the_version_is_part_of_the_address_once(gateway: Gateway, suffix: str) -> None:
    complete(OpenAI(api_key="fs-1", base_url=f"{gateway.url}{suffix}"))

    assert gateway.last.path == "/v1/chat/completions"


@clause("C10.1")
@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"freesolo_api_key": "1", "freesolo": {"api_key": "2"}, "api_key": "3"}, "1"),
        ({"freesolo": FreesoloConfig(api_key="2"), "api_key": "3"}, "2"),
        ({"api_key": "3"}, "3"),
        ({}, "4"),
    ],
)
def test_the_first_key_that_is_set_is_used(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], key: str
) -> None:
    monkeypatch.setenv("FREESOLO_API_KEY", "4")

    complete(OpenAI(base_url=gateway.url, **arguments))

    assert gateway.last.headers["authorization"] == f"Bearer {key}"


@clause("C10.2")
@pytest.mark.parametrize("first", range(4))
def test_the_first_address_that_is_set_is_used(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    nobody = "http://127.0.0.1:1"
    addresses: list[str | None] = [None] * first + [gateway.url] + [nobody] * (3 - first)
    monkeypatch.setenv("FREESOLO_BASE_URL", addresses[3] or "")

    client = OpenAI(
        api_key="fs-1",
        max_retries=0,
        freesolo_base_url=addresses[0],
        freesolo=FreesoloConfig(base_url=addresses[1]),
        base_url=addresses[2],
    )
    complete(client)

    assert len(gateway.heard) == 1


@clause("C10.4")
@pytest.mark.parametrize(
    ("arguments", "project"),
    [
        ({"project_id": "1", "freesolo": {"project_id": "2"}}, "1"),
        ({"freesolo": {"project_id": "2"}}, "2"),
        ({"default_headers": {"x-freesolo-project-id": "mine"}}, "3"),
    ],
)
def test_the_first_project_that_is_set_replaces_any_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], project: str
) -> None:
    monkeypatch.setenv("FREESOLO_PROJECT_ID", "3")

    complete(OpenAI(api_key="fs-1", base_url=gateway.url, **arguments))

    assert gateway.last.headers["x-freesolo-project-id"] == project


def test_a_key_of_several_orgs_says_which_it_means(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOLO_ORG", "acme")

    complete(OpenAI(api_key="fs-1", base_url=gateway.url))

    assert gateway.last.headers["freesolo-org"] == "acme"


@clause("C10.4")
def test_without_a_project_the_caller_s_header_is_kept(gateway: Gateway) -> None:
    headers = {"X-Freesolo-Project-ID": "mine", "X-Freesolo-Provider": "openai"}

    complete(OpenAI(api_key="fs-1", base_url=gateway.url, default_headers=headers))

    assert gateway.last.headers["x-freesolo-project-id"] == "mine"
    assert gateway.last.headers["x-freesolo-provider"] == "openai"


@clause("C10.6")
@both_clients
def test_nothing_that_is_set_up_for_openai_is_sent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, client_class: type[Any], ask: Ask
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "openai-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: openai-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")

    ask(
        client_class(api_key="fs-1", base_url=gateway.url, organization="org", project="openai-p"),
    )

    assert gateway.last.headers["authorization"] == "Bearer fs-1"
    assert "openai-secret" not in str(gateway.last.headers)
    assert not {"openai-organization", "openai-project"} & gateway.last.headers.keys()


@clause("C10.7")
@pytest.mark.parametrize("arguments", [{"store": False}, {"extra_body": {"store": False}}])
@both_clients
def test_a_request_may_say_that_it_is_not_recorded(
    gateway: Gateway, client_class: type[Any], ask: Ask, arguments: dict[str, Any]
) -> None:
    ask(client_class(api_key="fs-1", base_url=gateway.url), **arguments)

    assert gateway.last.body["store"] is False


@clause("C10.7")
def test_other_requests_are_left_alone(gateway: Gateway) -> None:
    with OpenAI(api_key="fs-1", base_url=gateway.url) as client:
        client.completions.create(model="m", prompt="hello")

    assert gateway.last.body == {"model": "m", "prompt": "hello"}


@clause("C10.8")
@both_clients
def test_a_copy_keeps_key_address_and_project(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, client_class: type[Any], ask: Ask
) -> None:
    monkeypatch.setenv("FREESOLO_PROJECT_ID", "another")
    monkeypatch.setenv("FREESOLO_API_KEY", "another")
    client = client_class(
        freesolo_api_key="fs-1", freesolo_base_url=gateway.url, project_id="mine", timeout=5
    )

    copy = client.with_options(max_retries=7)
    ask(copy)

    assert type(copy) is client_class
    assert (copy.max_retries, copy.timeout) == (7, 5)
    assert gateway.last.headers["authorization"] == "Bearer fs-1"
    assert gateway.last.headers["x-freesolo-project-id"] == "mine"


@clause("C10.5")
@pytest.mark.parametrize("name", ["api_key", "base_url", "project_id"])
def test_configured_values_must_be_text(name: str) -> None:
    with pytest.raises(TypeError, match=rf"freesolo\.{name} must be a string"):
        OpenAI(freesolo={name: 3})  # type: ignore[dict-item]


@clause("C10.1")
@pytest.mark.parametrize("client_class", [OpenAI, AsyncOpenAI])
@pytest.mark.parametrize("arguments", [{}, {"api_key": ""}, {"freesolo_api_key": ""}])
def test_without_a_key_there_is_no_client(
    monkeypatch: pytest.MonkeyPatch, client_class: type[Any], arguments: dict[str, str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openai-secret")

    with pytest.raises(openai.OpenAIError, match="FREESOLO_API_KEY"):
        client_class(base_url="http://127.0.0.1:1", **arguments)


@clause("C10.3")
def test_without_an_address_there_is_no_client_and_nobody_is_asked() -> None:
    with pytest.raises(openai.OpenAIError, match="FREESOLO_BASE_URL"):
        OpenAI(api_key="fs-1")


@clause("C10.3")
def test_without_an_address_the_platform_s_own_gateway_is_used(
    live_hub: LiveHub, tmp_path: Path
) -> None:
    CredentialStore(tmp_path / "home").save(Profile(live_hub.url, live_hub.user_key))

    with OpenAI() as client:
        assert client.api_key == live_hub.user_key
        assert str(client.base_url).startswith("http://127.0.0.1:")
        assert str(client.base_url).endswith("/v1/")


@clause("C10.3")
def test_the_stored_key_is_never_sent_to_another_address(live_hub: LiveHub, tmp_path: Path) -> None:
    CredentialStore(tmp_path / "home").save(Profile(live_hub.url, live_hub.user_key))

    with pytest.raises(openai.OpenAIError, match="no key"):
        OpenAI(base_url="http://127.0.0.1:1")


@clause("C10.3")
def test_a_platform_that_does_not_answer_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FREESOLO_HUB_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FREESOLO_API_KEY", "fs-1")

    with pytest.raises(openai.OpenAIError, match="Pass `base_url`"):
        OpenAI()


@clause("C10.1")
def test_a_configuration_that_is_shown_hides_its_key() -> None:
    assert "fs-1" not in repr(FreesoloConfig("fs-1", "http://127.0.0.1:1"))


@clause("C1.5")
def test_importing_freesolo_imports_no_client() -> None:
    code = (
        "import sys, freesolo, freesolo.environments, freesolo.datasets, freesolo.contracts; "
        "print([name for name in ('openai', 'httpx', 'httpx2', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@clause("C1.5")
def test_the_clients_are_there_when_they_are_asked_for() -> None:
    assert freesolo.OpenAI is OpenAI
    assert freesolo.AsyncOpenAI is AsyncOpenAI
    assert sorted(freesolo.__all__) == ["AsyncOpenAI", "OpenAI", "load"]
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        freesolo.Other  # noqa: B018
