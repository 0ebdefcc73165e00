"""OpenAI's own client against the gateway: answers, streams, and errors as its classes."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import openai
import pytest

from freesolo.domain.catalog import BUILT_IN, SMOLLM2_135M
from tests.component.gateway.conftest import BASE, HELLO, Platform, eventually, said
from tests.hubs import LiveHub


def test_a_whole_answer_comes_from_the_public_model_with_its_tokens(platform: Platform) -> None:
    answer = platform.openai().chat.completions.create(model=BASE, messages=HELLO)
    assert answer.choices[0].message.content == "base heard hello there"
    assert answer.model == BASE
    assert answer.system_fingerprint == SMOLLM2_135M.revision
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)


def test_nothing_of_the_engine_s_own_is_in_an_answer(platform: Platform) -> None:
    response = _post(platform, model=BASE, messages=HELLO)
    assert response.json().keys() == {
        "id",
        "object",
        "created",
        "model",
        "system_fingerprint",
        "choices",
        "usage",
    }
    assert response.json()["choices"][0].keys() == {
        "index",
        "message",
        "logprobs",
        "finish_reason",
    }


def test_a_stream_brings_the_same_words(platform: Platform) -> None:
    stream = platform.openai().chat.completions.create(model=BASE, messages=HELLO, stream=True)
    chunks = list(stream)
    words = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(words).strip() == "base heard hello there"
    assert {chunk.model for chunk in chunks} == {BASE}
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_ends_with_its_tokens_only_if_that_was_asked_for(platform: Platform) -> None:
    client = platform.openai()
    plain = client.chat.completions.create(model=BASE, messages=HELLO, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    counted = client.chat.completions.create(
        model=BASE, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = counted
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 6


def test_a_stream_may_hold_any_character(platform: Platform) -> None:
    text = "naïve\u2028日本語\x85🦊"
    stream = platform.openai().chat.completions.create(model=BASE, messages=said(text), stream=True)
    words = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(words) == f"base heard {text} "


def test_a_stream_has_one_done_at_its_end(platform: Platform) -> None:
    events = _post(platform, model=BASE, messages=HELLO, stream=True).text.split("\n\n")
    assert [event for event in events if "[DONE]" in event] == ["data: [DONE]"]
    assert events[-2:] == ["data: [DONE]", ""]


def test_a_stream_that_breaks_off_ends_with_an_error_and_no_done(platform: Platform) -> None:
    body = said("break it")
    text = _post(platform, model=BASE, messages=body, stream=True).text
    assert "[DONE]" not in text
    assert '"type":"server_error"' in text
    stream = platform.openai().chat.completions.create(model=BASE, messages=body, stream=True)
    with pytest.raises(openai.APIError, match="middle of the answer"):
        list(stream)


def test_the_newer_spelling_of_the_limit_wins(platform: Platform) -> None:
    platform.openai().chat.completions.create(
        model=BASE, messages=HELLO, max_tokens=9, max_completion_tokens=2
    )
    assert platform.engine.requests[-1]["max_completion_tokens"] == 2
    assert "max_tokens" not in platform.engine.requests[-1]


def test_the_engine_s_cache_is_kept_apart_for_each_org(platform: Platform) -> None:
    platform.openai().chat.completions.create(model=BASE, messages=HELLO)
    assert platform.engine.requests[-1]["cache_salt"] == "local"


def test_a_wrong_key_is_an_authentication_error(platform: Platform) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        platform.openai("fslo_wrong").chat.completions.create(model=BASE, messages=HELLO)
    assert caught.value.code == "invalid_api_key"


def test_a_request_without_a_key_is_told_how_to_send_one(platform: Platform) -> None:
    response = httpx.post(f"{platform.url}/v1/chat/completions", json={})
    assert response.status_code == 401
    assert "Authorization: Bearer" in response.json()["error"]["message"]


def test_a_mistyped_model_is_not_found_and_the_nearest_is_named(platform: Platform) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        platform.openai().chat.completions.create(model=BASE[:-1], messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert BASE in caught.value.message


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"max_token": 3}, "max_token", "unknown_parameter"),
        ({"model": None}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"tools": []}, "tools", "invalid_value"),
    ],
)
def test_a_request_that_cannot_be_right_is_a_bad_request(
    platform: Platform, change: dict[str, object], param: str, code: str
) -> None:
    response = _post(platform, **{"model": BASE, "messages": HELLO} | change)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["code"] == code


def test_what_a_model_cannot_do_is_told_apart_from_what_is_wrong(platform: Platform) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="does not think") as refused:
        platform.openai().chat.completions.create(
            model=BASE,
            messages=HELLO,
            extra_body={"chat_template_kwargs": {"enable_thinking": True}},
        )
    assert refused.value.param == "chat_template_kwargs"


def test_a_body_that_is_not_json_is_a_bad_request(platform: Platform) -> None:
    response = httpx.post(
        f"{platform.url}/v1/chat/completions", content=b"{", headers=_authorization(platform)
    )
    assert response.status_code == 400


def test_a_conversation_that_does_not_fit_is_told_apart(platform: Platform) -> None:
    long = said("word " * 1000)
    with pytest.raises(openai.BadRequestError) as caught:
        platform.openai().chat.completions.create(model=BASE, messages=long, stream=True)
    assert caught.value.code == "context_length_exceeded"


def test_the_models_that_a_key_may_ask_for_are_listed(platform: Platform) -> None:
    client = platform.openai()
    assert [model.id for model in client.models.list()] == sorted(BUILT_IN)
    assert client.models.retrieve(BASE).id == BASE


def test_an_engine_that_died_is_started_again(platform: Platform) -> None:
    client = platform.openai().with_options(max_retries=5)
    client.chat.completions.create(model=BASE, messages=HELLO)
    platform.process.crash()
    assert client.chat.completions.create(model=BASE, messages=HELLO).model == BASE
    assert platform.process.starts == 2


def test_an_engine_that_keeps_dying_is_started_again_ever_later(platform: Platform) -> None:
    for _ in range(2):
        eventually(lambda: _post(platform, model=BASE, messages=HELLO), lambda it: it.is_success)
        platform.process.crash()

    refusal = eventually(
        lambda: _post(platform, model=BASE, messages=HELLO),
        lambda it: "is started again in" in it.text,
    )

    assert refusal.status_code == 503
    assert int(refusal.headers["Retry-After"]) > 0
    assert platform.process.starts == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_did_not_wait_for_the_engine_is_not_answered(
    platform: Platform, stream: bool
) -> None:
    platform.process.may_start.clear()
    impatient = platform.openai().with_options(timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model=BASE, messages=HELLO, stream=stream)

    platform.process.may_start.set()
    platform.openai().chat.completions.create(model=BASE, messages=said("still here"))

    # Beside what the engine was asked before it served anybody.
    asked = [body["messages"] for body in platform.engine.requests]
    assert HELLO not in asked
    assert asked[-1] == said("still here")


def test_an_engine_that_does_not_start_is_a_503_with_the_time_to_wait(platform: Platform) -> None:
    platform.process.broken = True
    response = _post(platform, model=BASE, messages=HELLO)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable_engine"
    assert int(_post(platform, model=BASE, messages=HELLO).headers["Retry-After"]) > 0
    assert platform.process.starts == 1


def test_a_gateway_with_its_hub_is_ready(platform: Platform) -> None:
    assert httpx.get(f"{platform.url}/readyz").status_code == 200


def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(
    live_hub: LiveHub,
    start_gateway: Callable[[LiveHub], Platform],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    platform = start_gateway(live_hub)
    response = httpx.post(
        f"{platform.url}/v1/chat/completions",
        json={"model": BASE, "messages": HELLO},
        headers={"Authorization": f"Bearer {live_hub.user_key}"},
        trust_env=False,
    )
    assert response.status_code == 200, response.text


def test_without_its_hub_a_gateway_lives_but_is_not_ready(
    live_hub: LiveHub, start_gateway: Callable[[LiveHub], Platform]
) -> None:
    platform = start_gateway(replace(live_hub, url="http://127.0.0.1:9"))
    assert httpx.get(f"{platform.url}/healthz").status_code == 200
    assert httpx.get(f"{platform.url}/readyz").status_code == 503
    assert _post(platform, model=BASE, messages=HELLO).status_code == 503


@pytest.mark.parametrize("known", [True, False])
def test_a_gateway_whose_own_key_is_wrong_says_so(
    live_hub: LiveHub, start_gateway: Callable[[LiveHub], Platform], *, known: bool
) -> None:
    wrong = live_hub.user_key if known else "fslo_unknown"
    platform = start_gateway(replace(live_hub, gateway_key=wrong))
    models = httpx.get(f"{platform.url}/v1/models", headers=_authorization(platform))
    answer = _post(platform, model=BASE, messages=HELLO)
    for response in (httpx.get(f"{platform.url}/readyz"), models, answer):
        assert response.status_code == 503
        assert "the gateway's own key" in response.json()["error"]["message"]
        assert int(response.headers["Retry-After"]) > 0


def test_a_path_that_is_not_there_is_answered_in_openai_s_form(platform: Platform) -> None:
    response = httpx.get(f"{platform.url}/v1/embeddings")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


def _post(platform: Platform, **body: object) -> httpx.Response:
    return httpx.post(
        f"{platform.url}/v1/chat/completions",
        json=body,
        headers=_authorization(platform),
        timeout=30,
    )


def _authorization(platform: Platform) -> dict[str, str]:
    return {"Authorization": f"Bearer {platform.hub.user_key}"}
