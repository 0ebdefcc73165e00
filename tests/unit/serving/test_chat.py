"""OpenAI's chat format, both ways."""

import pytest
from pydantic import ValidationError

from serving_backend.chat import ChatRequest, public_answer, public_chunk, public_usage

_BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
_HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "adapter-abc"}


def _request(**fields: object) -> ChatRequest:
    return ChatRequest.model_validate(_BODY | fields)


def test_what_was_not_given_is_not_sent() -> None:
    assert _request().for_engine("base") == {
        "model": "base",
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_a_stream_is_always_asked_for_its_tokens() -> None:
    body = _request(stream=True).for_engine("base")
    assert body["stream_options"] == {"include_usage": True}


def test_what_concerns_only_openai_stays_here() -> None:
    body = _request(user="u", store=True, metadata={"a": "b"}, service_tier="auto").for_engine("m")
    assert body.keys() == {"model", "messages"}


def test_the_developer_is_the_system() -> None:
    request = _request(messages=[{"role": "developer", "content": "Be brief."}])
    assert request.messages[0].role == "system"


def test_an_answer_of_ours_may_be_sent_back_as_it_came() -> None:
    echoed = {"role": "assistant", "content": "hi", "refusal": None, "tool_calls": None}
    assert _request(messages=[echoed]).for_engine("m")["messages"] == [
        {"role": "assistant", "content": "hi"}
    ]


def test_a_schema_for_the_answer_is_sent_as_it_is() -> None:
    schema = {"name": "s", "schema": {"type": "object", "default": None}}
    wanted = {"type": "json_schema", "json_schema": schema}
    assert _request(response_format=wanted).for_engine("m")["response_format"] == wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"top_logprobs": 2},
        {"stream_options": {"include_usage": True}},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"seed": 2**63},
        {"top_k": 3},
        {"messages": [{"role": "robot", "content": "hello"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    ],
)
def test_what_openai_would_refuse_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _request(**fields)


def test_the_engine_s_own_fields_do_not_pass() -> None:
    answer = {
        **_HEAD,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "reasoning": "secret"},
                "finish_reason": "stop",
                "token_ids": [1],
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "multimodal_tokens": None},
        "kv_transfer_params": {},
    }
    public = public_answer(answer, model="run-1", fingerprint="run-1@final.abc")
    assert public["model"] == "run-1"
    assert public["system_fingerprint"] == "run-1@final.abc"
    assert "secret" not in str(public)
    assert "token_ids" not in str(public)
    assert "kv_transfer_params" not in public


def test_a_chunk_carries_only_what_changed() -> None:
    delta = {"role": None, "content": "hi", "reasoning": None}
    chunk = {**_HEAD, "choices": [{"index": 0, "delta": delta}]}
    (choice,) = public_chunk(chunk, model="m", fingerprint="f")["choices"]
    assert choice["delta"] == {"content": "hi"}
    assert choice["finish_reason"] is None


def test_cached_tokens_are_zero_when_the_engine_says_nothing() -> None:
    usage = public_usage({"prompt_tokens": 3, "completion_tokens": 4})
    assert usage["total_tokens"] == 7
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
