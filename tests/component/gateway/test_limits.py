"""What a key, an org and an engine may have at a time, and how long an answer may take."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from freesolo.domain.rates import KeyLimits
from freesolo.schemas.accounts import NewKey
from hub_server.settings import HubSettings
from tests.component.gateway.conftest import (
    BASE,
    HELLO,
    Platform,
    StartGateway,
    eventually,
    said,
)
from tests.hubs import LiveHub, live_hub


def _ask(platform: Platform, key: str | None = None, **body: object) -> httpx.Response:
    return httpx.post(
        f"{platform.url}/v1/chat/completions",
        json={"model": BASE, "messages": HELLO, **body},
        headers={"Authorization": f"Bearer {key or platform.hub.user_key}"},
        timeout=30,
    )


def _key(platform: Platform, **limits: int) -> str:
    with platform.client() as hub:
        return hub.create_key(NewKey(name="limited", limits=KeyLimits(**limits))).api_key


def test_a_key_may_ask_so_often_a_minute(platform: Platform) -> None:
    key = _key(platform, requests_per_minute=2)
    first, second, third = (_ask(platform, key) for _ in range(3))
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert third.status_code == 429
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert third.json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(third.headers["Retry-After"]) <= 30
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < float(third.headers["x-ratelimit-reset-requests"].rstrip("s")) <= 60
    other = _ask(platform)
    assert other.status_code == 200
    assert "x-ratelimit-limit-requests" not in other.headers
    platform.usage_of(requests=3)


def test_a_key_may_take_so_many_tokens_a_minute_and_one_answer_more(platform: Platform) -> None:
    key = _key(platform, tokens_per_minute=7)
    assert _ask(platform, key).status_code == 200
    second = _ask(platform, key)
    assert second.headers["x-ratelimit-limit-tokens"] == "7"
    with pytest.raises(openai.RateLimitError):
        platform.openai(key).chat.completions.create(model=BASE, messages=HELLO, stream=True)


@pytest.fixture
def strict(hub_settings: HubSettings, start_gateway: StartGateway) -> Iterator[Platform]:
    """A platform that limits every key."""
    settings = hub_settings.model_copy(update={"key_requests_per_minute": 1})
    with live_hub(settings) as hub:
        yield start_gateway(hub)


def test_a_hub_may_limit_every_key_whatever_its_org_says(strict: Platform) -> None:
    assert [_ask(strict).status_code for _ in range(2)] == [200, 429]
    lenient = _key(strict, requests_per_minute=3)
    assert [_ask(strict, lenient).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("setting", "status", "prompts", "n"),
    [
        ("max_in_flight_per_org", 429, ["hold one", "hold two"], 1),
        ("max_in_flight", 503, ["hold it"], 2),
    ],
)
def test_what_is_too_much_at_once_is_refused_at_once(
    live_hub: LiveHub,
    start_gateway: StartGateway,
    setting: str,
    status: int,
    prompts: list[str],
    n: int,
) -> None:
    platform = start_gateway(live_hub, **{setting: 2})
    held = platform.openai().completions.create(model=BASE, prompt=prompts, n=n, stream=True)
    refused = _ask(platform)
    assert refused.status_code == status
    assert int(refused.headers["Retry-After"]) > 0
    platform.engine.release.set()
    list(held)
    assert _ask(platform).status_code == 200
    assert _ask(platform, n=3).status_code == status
    platform.usage_of(requests=len(prompts) + 1)


def test_an_answer_that_takes_too_long_is_given_up_and_costs_nothing(
    live_hub: LiveHub, start_gateway: StartGateway
) -> None:
    platform = start_gateway(live_hub, request_seconds=0.5)
    with pytest.raises(openai.InternalServerError, match=r"more than 0\.5 seconds") as late:
        platform.openai().chat.completions.create(model=BASE, messages=said("hold the line"))
    assert late.value.status_code == 503
    eventually(lambda: len(platform.engine.aborted), lambda aborted: aborted == 1)
    assert _ask(platform).status_code == 200
    (line,) = platform.usage_of(requests=1).usage
    assert line.prompt_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_hears_nothing_delays_no_refusal(
    live_hub: LiveHub, start_gateway: StartGateway, *, stream: bool
) -> None:
    platform = start_gateway(live_hub, request_seconds=0.5, first_token_seconds=0.5)
    assert _ask(platform).status_code == 200
    platform.engine.faults.add("deaf")
    assert _ask(platform, messages=said("mute it"), stream=stream).status_code == 503
    platform.engine.release.set()
    platform.usage_of(requests=1)


def test_a_stream_that_takes_too_long_ends_and_what_it_brought_is_counted(
    live_hub: LiveHub, start_gateway: StartGateway
) -> None:
    platform = start_gateway(live_hub, request_seconds=0.5)
    answer = _ask(platform, messages=said("hold the line"), stream=True)
    assert "more than 0.5 seconds" in answer.text
    assert "[DONE]" not in answer.text
    (line,) = platform.usage_of(requests=1).usage
    assert line.completion_tokens == 1


@pytest.mark.parametrize("setting", ["first_token_seconds", "request_seconds"])
def test_a_stream_that_does_not_begin_is_given_up_and_costs_nothing(
    live_hub: LiveHub, start_gateway: StartGateway, setting: str
) -> None:
    platform = start_gateway(live_hub, **{setting: 0.5})
    with pytest.raises(openai.InternalServerError, match=r"more than 0\.5 seconds"):
        platform.openai().chat.completions.create(model=BASE, messages=said("mute it"), stream=True)
    eventually(lambda: len(platform.engine.aborted), lambda aborted: aborted == 1)
    assert _ask(platform).status_code == 200
    platform.usage_of(requests=1)
