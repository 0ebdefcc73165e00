"""Every token that was answered reaches the hub, once."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import openai
import pytest

from freesolo.schemas.deployments import ResolveTarget, Target
from freesolo.schemas.usage import UsageRecord, Witness
from tests.component.gateway.conftest import BASE, HELLO, Platform, eventually, said
from tests.hubs import LiveHub


def test_whole_and_streamed_answers_are_counted(platform: Platform) -> None:
    client = platform.openai()
    client.chat.completions.create(model=BASE, messages=HELLO)
    list(client.chat.completions.create(model=BASE, messages=HELLO, stream=True))
    (line,) = platform.usage_of(requests=2).usage
    assert (line.model, line.prompt_tokens, line.completion_tokens) == (BASE, 4, 8)


def test_a_caller_who_hangs_up_pays_for_what_was_generated(platform: Platform) -> None:
    hold = said("hold the line")
    stream = platform.openai().chat.completions.create(model=BASE, messages=hold, stream=True)
    words = [next(stream).choices[0].delta.content for _ in range(2)]
    assert words[-1] == "base "
    stream.close()
    (line,) = platform.usage_of(requests=1).usage
    assert line.completion_tokens == 1
    assert len(platform.engine.aborted) == 1


def test_an_answer_that_was_refused_costs_nothing(platform: Platform) -> None:
    client = platform.openai()
    long = said("word " * 1000)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=BASE, messages=long)
    client.chat.completions.create(model=BASE, messages=HELLO)
    (line,) = platform.usage_of(requests=1).usage
    assert line.prompt_tokens == 2


def test_what_a_killed_gateway_left_is_delivered_once(
    live_hub: LiveHub, start_gateway: Callable[[LiveHub], Platform]
) -> None:
    first = start_gateway(live_hub)
    first.openai().chat.completions.create(model=BASE, messages=HELLO)
    first.usage_of(requests=1)
    record = UsageRecord(
        id="left-behind",
        org="local",
        key_id=_target(first).key_id,
        prices=_target(first).prices,
        witness=Witness.GATEWAY,
        model=BASE,
        prompt_tokens=5,
        completion_tokens=7,
        created_at=datetime.now(UTC),
    )
    folder = first.settings.data_dir / "usage"
    (folder / "0.sending").write_text(f'\n{record.model_dump_json()}\n{{"id": "torn')
    (folder / "1.sending").write_text(f"\n{record.model_dump_json()}")
    second = start_gateway(live_hub)
    (line,) = second.usage_of(requests=2).usage
    assert (line.prompt_tokens, line.completion_tokens) == (7, 11)
    eventually(lambda: list(folder.glob("*.sending")), lambda files: not files)


def _target(platform: Platform) -> Target:
    wanted = ResolveTarget(
        key_hash=hashlib.sha256(platform.hub.user_key.encode()).hexdigest(), model=BASE
    )
    response = httpx.post(
        f"{platform.hub.url}/v1/gateway/resolve",
        json=wanted.model_dump(),
        headers={"Authorization": f"Bearer {platform.hub.gateway_key}"},
    )
    return Target.model_validate_json(response.content)
