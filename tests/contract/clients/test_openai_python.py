"""The official client for Python: typed answers, streams, structured outputs, its classes of errors."""

import asyncio
from typing import Literal

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import BaseModel

from tests.contract.clients.conftest import Gateway

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
# The tiny model knows nothing: it also tries every space that JSON allows.
ROOM = 400


class Verdict(BaseModel):
    """An answer with few ways to be."""

    mood: Literal["good", "bad"]
    sure: bool


def ask(gateway: Gateway, **options: object) -> ChatCompletion:
    """Ask the adapter for a short answer, always the same one."""
    asked = {"model": gateway.adapter, "messages": HELLO, "temperature": 0, "max_tokens": 12}
    answer: ChatCompletion = gateway.client.chat.completions.create(**{**asked, **options})  # type: ignore[call-overload]
    return answer


def test_an_answer_is_typed_and_names_what_answered(gateway: Gateway) -> None:
    answer = ask(gateway)
    assert (answer.object, answer.model) == ("chat.completion", gateway.adapter)
    assert answer.system_fingerprint is not None
    assert answer.system_fingerprint.startswith(f"{gateway.adapter}@final.")
    assert answer._request_id
    (choice,) = answer.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert isinstance(choice.message.content, str)
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 12
    assert usage.total_tokens == usage.prompt_tokens + 12
    assert usage.prompt_tokens_details is not None


def test_the_adapter_answers_otherwise_than_its_base_model(gateway: Gateway) -> None:
    contents = {
        ask(gateway, model=name).choices[0].message.content
        for name in (gateway.adapter, gateway.base)
    }
    assert len(contents) == 2


def test_a_stream_says_the_same_and_ends_with_its_counts(gateway: Gateway) -> None:
    stream = gateway.client.chat.completions.create(
        model=gateway.adapter,
        messages=HELLO,
        temperature=0,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    whole = ask(gateway)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage and last.usage.completion_tokens) == ([], 12)


def test_a_stream_has_no_counts_unless_they_are_asked_for(gateway: Gateway) -> None:
    stream = gateway.client.chat.completions.create(
        model=gateway.adapter, messages=HELLO, max_tokens=4, stream=True
    )
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


def test_the_helper_for_streams_puts_the_answer_together(gateway: Gateway) -> None:
    whole = ask(gateway).choices[0].message.content or ""
    # It takes an answer that was cut off for an error.
    word = next(each for each in whole[2:] if each.isascii())
    with gateway.client.chat.completions.stream(
        model=gateway.adapter, messages=HELLO, temperature=0, max_tokens=12, stop=word
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == whole[: whole.index(word)]


def test_an_answer_is_parsed_into_a_model_of_the_callers(gateway: Gateway) -> None:
    client = gateway.client
    answer = client.chat.completions.parse(
        model=gateway.adapter, messages=HELLO, response_format=Verdict, max_tokens=ROOM
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    with client.chat.completions.stream(
        model=gateway.base, messages=HELLO, response_format=Verdict, max_tokens=ROOM
    ) as stream:
        streamed = stream.get_final_completion()
    assert isinstance(streamed.choices[0].message.parsed, Verdict)


def test_an_answer_that_was_cut_off_is_not_parsed(gateway: Gateway) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        gateway.client.chat.completions.parse(
            model=gateway.adapter, messages=HELLO, response_format=Verdict, max_tokens=3
        )


def test_several_answers_are_numbered_and_counted_together(gateway: Gateway) -> None:
    answer = ask(gateway, n=3, temperature=1, max_tokens=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 15
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_several_answers_without_chance_hold_the_likeliest_tokens_only(gateway: Gateway) -> None:
    # Not always the same ones: in bfloat16 two tokens are easily just as likely.
    for choice in ask(gateway, n=3, logprobs=True, top_logprobs=1).choices:
        assert choice.logprobs is not None
        tokens = choice.logprobs.content or []
        assert len(tokens) == 12
        assert all(token.logprob == token.top_logprobs[0].logprob for token in tokens)


def test_each_token_comes_with_its_probability(gateway: Gateway) -> None:
    answer = ask(gateway, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert answer.usage is not None
    assert len(logprobs.content) == answer.usage.completion_tokens
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 2


def test_an_answer_ends_before_a_stop_word(gateway: Gateway) -> None:
    whole = ask(gateway).choices[0].message.content or ""
    word = next(each for each in whole[2:] if each.isascii())
    choice = ask(gateway, stop=[word]).choices[0]
    assert choice.message.content == whole[: whole.index(word)]
    assert choice.finish_reason == "stop"


def test_the_same_seed_gives_the_same_answer(gateway: Gateway) -> None:
    said = [ask(gateway, temperature=1, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_the_asynchronous_client_is_answered_many_times_at_once(gateway: Gateway) -> None:
    async def talk() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=gateway.endpoint, api_key=gateway.key, max_retries=0
        ) as client:

            async def one(model: str) -> str:
                stream = await client.chat.completions.create(
                    model=model, messages=HELLO, temperature=0, max_tokens=12, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(one(gateway.adapter) for _ in range(8)))

    assert set(asyncio.run(talk())) == {ask(gateway).choices[0].message.content}


@pytest.mark.parametrize(
    ("change", "key", "error"),
    [
        ({}, "fslo_nobody", openai.AuthenticationError),
        ({}, "poor", openai.APIStatusError),
        ({}, "silent", openai.PermissionDeniedError),
        ({"model": "run-0000000000"}, None, openai.NotFoundError),
        ({"temperature": 3}, None, openai.BadRequestError),
        ({"extra_body": {"max_token": 3}}, None, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, None, openai.BadRequestError),
        (
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
            None,
            openai.UnprocessableEntityError,
        ),
    ],
    ids=["401", "402", "403", "404", "400", "unknown argument", "too long", "422"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused_raises_the_clients_own_class_of_error(
    gateway: Gateway,
    change: dict[str, object],
    key: str | None,
    error: type[openai.APIStatusError],
    *,
    stream: bool,
) -> None:
    keys = {"poor": gateway.poor, "silent": gateway.silent}
    client = gateway.client.with_options(api_key=keys.get(key or "", key))
    asked = {"model": gateway.base, "messages": HELLO, "max_tokens": 4, "stream": stream}
    with pytest.raises(error) as refused:
        client.chat.completions.create(**{**asked, **change})  # type: ignore[call-overload]
    assert refused.value.message
    assert refused.value.type in ("invalid_request_error", "permission_error", "insufficient_quota")
    if key == "poor":
        assert type(refused.value) is openai.APIStatusError
        assert refused.value.status_code == 402


def test_models_are_listed_and_shown(gateway: Gateway) -> None:
    client = gateway.client
    assert {gateway.adapter, gateway.base} <= {model.id for model in client.models.list()}
    assert client.models.retrieve(gateway.base).id == gateway.base
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
