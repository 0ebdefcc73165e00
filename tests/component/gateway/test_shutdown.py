"""A gateway that is told to end takes nothing more on, and answers what it has begun."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from freesolo.client.hub import HubClient
from tests.component.gateway.conftest import BASE, eventually, said
from tests.hubs import LiveHub
from tests.killing_gateways import Gateway


@pytest.fixture
def gateway(live_hub: LiveHub, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with a stand-in for vLLM, each a process of its own."""
    gateway = Gateway(live_hub, tmp_path / "gateway", "tests.fake_gateway")
    gateway.start()
    yield gateway
    gateway.end(signal.SIGTERM)


def test_what_is_on_its_way_is_answered_and_the_rest_told_to_come_back(
    live_hub: LiveHub, gateway: Gateway
) -> None:
    client = openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=live_hub.user_key, max_retries=0, timeout=60
    )
    text = "word " * 180
    stream = client.chat.completions.create(model=BASE, messages=said(text), stream=True)
    next(stream)

    gateway.tell(signal.SIGTERM)

    refused = eventually(
        lambda: httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": BASE, "messages": said("hello")},
            headers={"Authorization": f"Bearer {live_hub.user_key}"},
            timeout=60,
        ),
        lambda answer: answer.status_code == 503,
    )
    assert "about to end" in refused.text
    assert int(refused.headers["Retry-After"]) > 0
    *_, last = stream
    assert last.choices[0].finish_reason == "stop"
    assert gateway.wait() in (0, -signal.SIGTERM)


def test_what_would_never_end_is_ended_and_its_counts_handed_over(
    live_hub: LiveHub, gateway: Gateway
) -> None:
    client = openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=live_hub.user_key, max_retries=0, timeout=60
    )
    with ThreadPoolExecutor() as pool:
        for text, stream in (("hold the line", False), ("mute it", True)):
            pool.submit(
                client.chat.completions.create, model=BASE, messages=said(text), stream=stream
            )
        accounts = gateway.folder / "usage" / "engines"
        eventually(lambda: [*accounts.glob("*/open/*")], lambda there: len(there) == 2)

        gateway.tell(signal.SIGTERM)
        eventually(lambda: httpx.get(f"{gateway.url}/readyz"), lambda it: it.status_code == 503)
        # It waits for what is on its way, until it is told again.
        gateway.tell(signal.SIGTERM)
        gateway.wait()
    with HubClient(live_hub.url, live_hub.user_key) as hub:
        (line,) = hub.usage().usage
    assert (line.requests, line.completion_tokens) == (2, 1)
    assert not [*accounts.glob("*/*/*")]
