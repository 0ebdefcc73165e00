"""The ledger against an engine's own counters."""

import logging

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.component.gateway.conftest import BASE, HELLO, Platform, eventually, said

DIFFER = "ledger and engine differ"
NOTHING = {"prompt": 0.0, "completion": 0.0}


def unaccounted(platform: Platform) -> dict[str, float]:
    """Return what the gateway tells of it, by kind; nothing while it is not known."""
    page = httpx.get(f"{platform.url}/metrics", trust_env=False).text
    return {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "freesolo_serve_unaccounted_tokens"
    }


def test_whatever_was_asked_the_ledger_has_what_the_engine_counted(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    client = platform.openai()
    chat = client.chat.completions
    model = platform.deploy().model
    for name in (BASE, model):
        chat.create(model=name, messages=HELLO)
        list(chat.create(model=name, messages=HELLO, stream=True, n=3))
    client.completions.create(model=BASE, prompt=["hello", "to you there"], n=2)
    with pytest.raises(openai.BadRequestError):
        chat.create(model=BASE, messages=said("word " * 1000))
    chat.create(model=BASE, messages=said("hold on to it"), stream=True).close()

    eventually(lambda: unaccounted(platform), lambda found: found == NOTHING)

    assert platform.engine.answers
    assert not [record for record in caplog.records if record.message == DIFFER]


def test_tokens_that_are_in_no_account_are_told_and_logged(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="serving_backend.reconciliation")
    platform.openai().chat.completions.create(model=BASE, messages=HELLO)
    eventually(lambda: unaccounted(platform), lambda found: found == NOTHING)

    # As an engine would that answered somebody past its accounts.
    platform.engine.answers[-1].sent += 3

    eventually(
        lambda: unaccounted(platform), lambda found: found == {"prompt": 0.0, "completion": 3.0}
    )
    told, *_ = [record for record in caplog.records if record.message == DIFFER]
    assert vars(told)["completion_tokens"] == 3
