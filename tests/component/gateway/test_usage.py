"""Every token that was answered reaches the hub, once."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.prices import prices_of
from freesolo.schemas.deployments import ResolveTarget, Target
from freesolo.schemas.usage import BillingMode, Metered, UsageRecord, Witness
from hub_server.settings import HubSettings
from serving_backend.usage import UsageLog, end_journal, journal_of
from tests.component.gateway.conftest import BASE, HELLO, Platform, eventually, said
from tests.hubs import LiveHub, add_credit, live_hub

# What a target tells of a request.
_METERED = {"org", "key_id", "model", "revision", "prices"}


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


def test_a_caller_who_hangs_up_on_a_whole_answer_pays_for_what_was_generated(
    platform: Platform,
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{platform.url}/v1/chat/completions",
            json={"model": BASE, "messages": said("hold the line")},
            headers={"Authorization": f"Bearer {platform.hub.user_key}"},
            timeout=1.0,
        )
    (line,) = platform.usage_of(requests=1).usage
    assert line.completion_tokens == 1
    assert len(platform.engine.aborted) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_hangs_up_before_the_engine_has_read_the_prompt_pays_for_little(
    platform: Platform, *, stream: bool
) -> None:
    platform.openai().chat.completions.create(model=BASE, messages=HELLO)
    platform.engine.faults.add("renders")
    impatient = platform.openai().with_options(timeout=0.2)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model=BASE, messages=said("hold on"), stream=stream)
    eventually(lambda: platform.engine.aborts, lambda aborts: aborts > 0)
    platform.engine.faults.clear()
    (line,) = platform.usage_of(requests=2).usage
    assert line.completion_tokens <= 4 + 1


def test_an_account_of_the_engine_is_enough(platform: Platform) -> None:
    # Once it answers, it has looked at what an earlier gateway left.
    httpx.get(f"{platform.url}/readyz").raise_for_status()
    journal = journal_of(platform.settings.data_dir / "usage", "alive")
    closed = journal / "closed"
    closed.mkdir(parents=True)
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    account = {"meter": _metered(platform).model_dump(mode="json"), "usage": usage}
    (closed / "a.closing").write_text(json.dumps(account))
    (closed / "a.closing").rename(closed / "a")

    (line,) = platform.usage_of(requests=1).usage

    assert (line.prompt_tokens, line.completion_tokens) == (3, 5)


def test_a_record_that_cannot_be_written_breaks_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nobody: Any = None
    usage = UsageLog(tmp_path / "usage", nobody)
    (tmp_path / "usage").rmdir()
    usage.record(
        UsageRecord(
            id="a",
            org="local",
            key_id="k",
            model=BASE,
            prices=prices_of(SMOLLM2_135M),
            created_at=datetime.now(UTC),
            witness=Witness.GATEWAY,
        )
    )
    assert "usage not written" in caplog.messages


def test_an_answer_that_breaks_off_costs_nothing(platform: Platform) -> None:
    client = platform.openai()
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=BASE, messages=said("break it"), stream=True))
    client.chat.completions.create(model=BASE, messages=HELLO)
    (line,) = platform.usage_of(requests=1).usage
    assert line.prompt_tokens == 2


def test_what_an_engine_that_died_did_is_lost_and_nobody_pays(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    httpx.get(f"{platform.url}/readyz").raise_for_status()
    journal = journal_of(platform.settings.data_dir / "usage", "dead")
    (journal / "open").mkdir(parents=True)
    (journal / "open" / "a").write_text(_metered(platform).model_dump_json())
    end_journal(journal)

    eventually(journal.exists, lambda there: not there)

    assert "usage lost" in caplog.messages
    assert platform.usage_of(requests=0).usage == []


def test_what_cannot_be_read_or_is_refused_holds_up_nothing_else(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    httpx.get(f"{platform.url}/readyz").raise_for_status()
    folder = platform.settings.data_dir / "usage"
    closed = journal_of(folder, "dead") / "closed"
    closed.mkdir(parents=True)
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    for name, changes in (("a", {}), ("b", {"org": "nobody"}), ("c", {})):
        meter = _metered(platform).model_copy(update=changes | {"id": name})
        (closed / name).write_text(
            json.dumps({"meter": meter.model_dump(mode="json"), "usage": usage})
        )
    for name, content in (("d", ""), ("e", "{}")):
        (closed / name).write_text(content)
    end_journal(closed.parent)

    (line,) = platform.usage_of(requests=2).usage

    assert line.prompt_tokens == 6
    eventually(closed.exists, lambda there: not there)
    (refused,) = (folder / "refused.jsonl").read_text().splitlines()
    assert json.loads(refused)["id"] == "b"
    assert {file.name for file in folder.glob("*.damaged")} == {"d.damaged", "e.damaged"}
    assert {"account is damaged", "usage refused"} <= set(caplog.messages)


@pytest.fixture
def prepaid(
    hub_settings: HubSettings, start_gateway: Callable[[LiveHub], Platform]
) -> Iterator[Platform]:
    """A platform whose orgs pay beforehand, with what a short answer costs at the most."""
    settings = hub_settings.model_copy(update={"billing": BillingMode.PREPAID})
    with live_hub(settings) as hub:
        yield start_gateway(hub)


def test_whoever_pays_beforehand_gets_what_the_balance_covers(prepaid: Platform) -> None:
    client = prepaid.openai()

    def ask(tokens: int) -> None:
        client.chat.completions.create(model=BASE, messages=HELLO, max_completion_tokens=tokens)

    with pytest.raises(openai.APIStatusError) as refused:
        ask(4)
    assert refused.value.status_code == 402
    assert "have credit added" in refused.value.message
    add_credit(prepaid.hub, "0.000001")
    ask(4)
    with pytest.raises(openai.APIStatusError, match="402"):
        ask(1000)
    (line,) = prepaid.usage_of(requests=1).usage
    assert line.amount == 2 * 2400 + 4 * 9600
    with prepaid.client() as hub:
        left = eventually(hub.balance, lambda balance: balance.held == 0)
    assert left.balance == 10**6 - line.amount


def test_several_texts_are_paid_for_together_or_not_at_all(prepaid: Platform) -> None:
    # Enough for one of them.
    add_credit(prepaid.hub, "0.000001")
    client = prepaid.openai()
    with pytest.raises(openai.APIStatusError, match="402"):
        client.completions.create(model=BASE, prompt=["one", "two"], max_tokens=4)
    with prepaid.client() as hub:
        left = eventually(hub.balance, lambda balance: balance.held == 0)
    assert left.balance == 10**6
    assert not any("prompt" in request for request in prepaid.engine.requests)


def test_a_request_that_fails_frees_what_was_held_for_it(prepaid: Platform) -> None:
    add_credit(prepaid.hub, "1")
    client = prepaid.openai()
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=BASE, messages=said("word " * 1000))
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=BASE, messages=said("break it"), stream=True))
    with prepaid.client() as hub:
        left = eventually(hub.balance, lambda balance: balance.held == 0)
    assert left.balance == 10**12


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_makes_no_sense_frees_what_was_held_for_it(
    prepaid: Platform, *, stream: bool
) -> None:
    add_credit(prepaid.hub, "1")
    client = prepaid.openai()
    client.chat.completions.create(model=BASE, messages=HELLO)
    prepaid.engine.faults.add("babbles")
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=BASE, messages=HELLO, stream=stream)
    (line,) = prepaid.usage_of(requests=1).usage
    with prepaid.client() as hub:
        left = eventually(hub.balance, lambda balance: balance.held == 0)
    assert left.balance == 10**12 - line.amount


def _metered(platform: Platform) -> Metered:
    known = _target(platform).model_dump(include=_METERED)
    return Metered(id="a", created_at=datetime.now(UTC), **known)


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
