"""What the gateway counts, and what neither its metrics nor its log tell."""

import logging

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.component.gateway.conftest import BASE, HELLO, Platform, said

CANARY = "canary-7f3a91"


def _page(platform: Platform) -> str:
    return httpx.get(f"{platform.url}/metrics").text


def _samples(platform: Platform) -> dict[tuple[str, str], float]:
    """Return the values by name and all labels but the model's."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(_page(platform)):
        for sample in family.samples:
            labels = {name: it for name, it in sample.labels.items() if name != "model"}
            found[sample.name, " ".join(labels.values())] = sample.value
    return found


def test_requests_tokens_and_engines_are_counted(platform: Platform) -> None:
    client = platform.openai()
    client.chat.completions.create(model=BASE, messages=HELLO)
    list(client.chat.completions.create(model=BASE, messages=HELLO, stream=True))
    client.completions.create(model=BASE, prompt=["hello", "there"])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=BASE, messages=said("word " * 1000))
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=HELLO)
    platform.usage_of(requests=4)

    seen = _samples(platform)

    requests = "freesolo_serve_requests_total"
    assert seen[requests, "/v1/chat/completions 200"] == 2
    assert seen[requests, "/v1/chat/completions 400"] == 1
    assert seen[requests, "/v1/chat/completions 404"] == 1
    assert seen[requests, "/v1/completions 200"] == 1
    assert seen["freesolo_serve_prompts_total", "counted"] == 4
    assert seen["freesolo_serve_prompts_total", "void"] == 1
    assert seen["freesolo_serve_tokens_total", "prompt"] == 6
    assert seen["freesolo_serve_tokens_total", "completion"] == 14
    assert seen["freesolo_serve_first_token_seconds_count", ""] == 1
    assert seen["freesolo_serve_next_token_seconds_count", ""] > 1
    assert seen["freesolo_serve_in_flight", ""] == 0
    assert seen["freesolo_serve_engine_starts_total", ""] == 1
    assert seen["freesolo_serve_engine_deaths_total", ""] == 0
    assert seen["freesolo_serve_resident_adapters", ""] == 0


def test_no_word_of_a_prompt_and_no_key_is_written_anywhere(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = platform.hub.user_key
    client = platform.openai()
    told = []
    for text in (CANARY, f"break it {CANARY}", CANARY + " word" * 300):
        for stream in (False, True):
            try:
                answer = client.chat.completions.create(
                    model=BASE, messages=said(text), stream=stream, user=CANARY
                )
                if stream:
                    list(answer)
            except openai.APIError as error:
                told.append(str(error))
    for path in ("/v1/chat/completions", "/v1/completions"):
        for body in ({"prompt": CANARY}, {"model": BASE, "prompt": CANARY, "messages": CANARY}):
            headers = {"Authorization": f"Bearer {key}"}
            httpx.post(f"{platform.url}{path}", json=body, headers=headers)
    httpx.post(f"{platform.url}/v1/{CANARY}")

    logged = [str(vars(record)) for record in caplog.records if _is_ours(record)]
    assert any("answered" in line for line in logged)
    everything = "\n".join([*logged, *told, _page(platform)])
    assert key not in everything
    assert CANARY not in everything


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.startswith(("serving_backend", "freesolo", "uvicorn"))
