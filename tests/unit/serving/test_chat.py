"""OpenAI's chat format, both ways."""

import pytest
from pydantic import ValidationError

from freesolo.domain.catalog import QWEN3_5, SMOLLM2_135M
from freesolo.domain.prices import prices_of
from freesolo.errors import RequestNotServable
from freesolo.schemas.deployments import Target
from serving_backend.chat import ChatRequest
from serving_backend.engine import Document
from serving_backend.formats import Head, counts_of, public_usage

_BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
_HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "adapter-abc"}
PUBLIC = Head(id="chatcmpl-1", created=1, model="run-1", fingerprint="run-1@final.abc")


TARGET = Target(
    org="acme", key_id="k", model="m", prices=prices_of(SMOLLM2_135M), base_model=SMOLLM2_135M
)
THINKER = QWEN3_5[0]
CALLER = TARGET.model_copy(update={"base_model": THINKER})
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
# The smallest address of an image.
_FETCHED = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def _request(**fields: object) -> ChatRequest:
    return ChatRequest.model_validate(_BODY | fields)


def _sent(request: ChatRequest, target: Target, *, name: str = "m") -> Document:
    (body,) = request.for_engine(name, target)
    return body


def test_what_was_not_given_is_not_sent() -> None:
    assert _sent(_request(), TARGET, name="base") == {
        "model": "base",
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_a_stream_is_always_asked_for_its_tokens() -> None:
    body = _sent(_request(stream=True), TARGET, name="base")
    assert body["stream_options"] == {"include_usage": True}


def test_several_answers_without_chance_are_asked_for_in_the_engines_way() -> None:
    one = _sent(_request(temperature=0, n=1), TARGET)
    several = _sent(_request(temperature=0, n=2), TARGET)
    drawn = _sent(_request(temperature=0.5, n=2), TARGET)
    assert one["temperature"] == 0
    assert (several["temperature"], several["top_k"], several["n"]) == (1.0, 1, 2)
    assert drawn["temperature"] == 0.5
    assert "top_k" not in one.keys() | drawn.keys()


def test_what_concerns_only_openai_stays_here() -> None:
    body = _sent(_request(user="u", store=True, metadata={"a": "b"}, service_tier="auto"), TARGET)
    assert body.keys() == {"model", "messages"}


def test_the_developer_is_the_system() -> None:
    request = _request(messages=[{"role": "developer", "content": "Be brief."}])
    assert request.messages[0].role == "system"


def test_an_answer_of_ours_may_be_sent_back_as_it_came() -> None:
    echoed = {"role": "assistant", "content": "hi", "refusal": None, "tool_calls": None}
    assert _sent(_request(messages=[echoed]), TARGET)["messages"] == [
        {"role": "assistant", "content": "hi"}
    ]


def test_a_schema_for_the_answer_is_sent_as_it_is() -> None:
    schema = {"name": "s", "schema": {"type": "object", "default": None}}
    wanted = {"type": "json_schema", "json_schema": schema}
    assert _sent(_request(response_format=wanted), TARGET)["response_format"] == wanted


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
        {"messages": [{"role": "user", "content": [_FETCHED]}]},
        {"messages": [{"role": "user", "content": [IMAGE] * 5}]},
        {"messages": [{"role": "assistant", "content": None}]},
        {"tool_choice": "auto"},
        {"tools": []},
        {"chat_template_kwargs": {"documents": []}},
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
                "message": {"role": "assistant", "content": "hi", "internal": "secret"},
                "finish_reason": "stop",
                "token_ids": [1],
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "multimodal_tokens": None},
        "kv_transfer_params": {},
    }
    public = _request().answer(PUBLIC, [answer])
    assert public["model"] == "run-1"
    assert public["system_fingerprint"] == "run-1@final.abc"
    assert "secret" not in str(public)
    assert "token_ids" not in str(public)
    assert "kv_transfer_params" not in public


def test_a_chunk_carries_only_what_changed() -> None:
    delta = {"role": None, "content": "hi", "reasoning": None}
    chunk = {**_HEAD, "choices": [{"index": 0, "delta": delta}]}
    (choice,) = _request().chunk(PUBLIC, 0, chunk)["choices"]
    assert choice["delta"] == {"content": "hi"}
    assert choice["finish_reason"] is None


def test_cached_tokens_are_zero_when_the_engine_says_nothing() -> None:
    usage = public_usage(counts_of({"prompt_tokens": 3, "completion_tokens": 4}))
    assert usage["total_tokens"] == 7
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_calls_and_their_answers_go_both_ways() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    request = _request(messages=messages, tools=[TOOL], tool_choice="required")

    body = _sent(request, CALLER)

    assert body["tools"] == [TOOL]
    assert body["tool_choice"] == "required"
    assert body["messages"][1] == {"role": "assistant", "tool_calls": [call]}
    assert body["messages"][2] == messages[2]

    said = {"role": "assistant", "content": None, "tool_calls": [{**call, "extra": 1}]}
    answer = _HEAD | {
        "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    (choice,) = _request().answer(PUBLIC, [answer])["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [call],
    }


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"tool_choice": "auto"},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "add"}}},
    ],
)
def test_tools_are_refused_where_nothing_reads_the_calls(choice: dict[str, object]) -> None:
    with pytest.raises(RequestNotServable, match="calls no tools"):
        _sent(_request(tools=[TOOL], **choice), TARGET)
    assert _sent(_request(tools=[TOOL], **choice), CALLER)["tools"] == [TOOL]


def test_tools_that_are_not_to_be_called_hurt_nobody() -> None:
    assert _sent(_request(tools=[TOOL], tool_choice="none"), TARGET)["tools"] == [TOOL]


def test_pieces_of_calls_keep_their_places() -> None:
    piece = {"index": 1, "id": None, "function": {"name": None, "arguments": '{"a'}}
    chunk = _HEAD | {"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}
    (choice,) = _request().chunk(PUBLIC, 0, chunk)["choices"]
    assert choice["delta"] == {"tool_calls": [{"index": 1, "function": {"arguments": '{"a'}}]}


def test_thinking_stands_beside_an_answer_that_is_never_null() -> None:
    said = {"role": "assistant", "content": None, "reasoning": "hm"}
    answer = _HEAD | {
        "choices": [{"index": 0, "message": said, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    public = _request().answer(PUBLIC, [answer])
    message = public["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("", "hm")
    assert public["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    chunk = _HEAD | {"choices": [{"index": 0, "delta": {"reasoning": "h"}}]}
    (choice,) = _request().chunk(PUBLIC, 0, chunk)["choices"]
    assert choice["delta"] == {"reasoning_content": "h"}


def _thinking(*, on: bool) -> ChatRequest:
    return _request(chat_template_kwargs={"enable_thinking": on})


def test_an_adapter_thinks_as_it_was_trained_to_and_a_base_model_as_it_is_asked() -> None:
    base = TARGET.model_copy(update={"base_model": THINKER})
    for on in (True, False):
        adapter = base.model_copy(update={"thinking": on})
        told = {"enable_thinking": on}
        assert _sent(_request(), adapter)["chat_template_kwargs"] == told
        assert _sent(_thinking(on=on), adapter)["chat_template_kwargs"] == told
        assert _sent(_thinking(on=on), base)["chat_template_kwargs"] == told
        with pytest.raises(RequestNotServable, match="was trained"):
            _sent(_thinking(on=not on), adapter)
    assert "chat_template_kwargs" not in _sent(_request(), base)
    with pytest.raises(RequestNotServable, match="does not think"):
        _sent(_thinking(on=True), TARGET)


def test_an_adapter_answers_in_the_form_it_was_trained_in_unless_another_is_asked_for() -> None:
    form = {"choice": ["yes", "no"]}
    adapter = TARGET.model_copy(update={"structured_outputs": form})
    assert _sent(_request(), adapter)["structured_outputs"] == form
    free = _sent(_request(response_format={"type": "text"}), adapter)
    assert "structured_outputs" not in free


def test_images_are_read_by_models_that_can_and_never_fetched() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}]
    request = _request(messages=messages)
    seeing = TARGET.model_copy(update={"base_model": THINKER})
    assert _sent(request, seeing)["messages"] == messages
    with pytest.raises(RequestNotServable, match="reads text only"):
        _sent(request, TARGET)


def test_a_request_is_never_smaller_than_its_text() -> None:
    text = "\u00e9" * 100
    (asked,) = _request(messages=[{"role": "user", "content": text}], n=2, max_tokens=7).asked(
        context=1000
    )
    assert asked.text_bytes >= 200
    assert (asked.answers, asked.answer_tokens) == (2, 7)


def test_an_image_is_never_smaller_than_what_a_model_can_read() -> None:
    messages = [{"role": "user", "content": [IMAGE]}]
    (asked,) = _request(messages=messages).asked(context=100_000)
    assert asked.text_bytes >= 100_000
