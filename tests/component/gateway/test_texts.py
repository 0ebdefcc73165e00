"""OpenAI's own client continues texts at the gateway."""

import openai
import pytest

from freesolo.domain.catalog import SMOLLM2_135M
from tests.component.gateway.conftest import BASE, Platform


def test_a_text_is_continued_by_the_public_model(platform: Platform) -> None:
    answer = platform.openai().completions.create(model=BASE, prompt="hello there", logprobs=1)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer.choices[0].text == "base heard hello there"
    assert answer.choices[0].logprobs is not None
    assert answer.model == BASE
    assert answer.system_fingerprint == SMOLLM2_135M.revision
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)


def test_several_texts_are_answered_in_their_order_and_counted_each(platform: Platform) -> None:
    answer = platform.openai().completions.create(model=BASE, prompt=["one two", "three"], n=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "base heard one two"),
        (1, "base heard one two"),
        (2, "base heard three"),
        (3, "base heard three"),
    ]
    (line,) = platform.usage_of(requests=2).usage
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2 * 4 + 2 * 3
    assert (line.prompt_tokens, line.completion_tokens) == (3, 14)


def test_streams_of_several_texts_run_side_by_side(platform: Platform) -> None:
    stream = platform.openai().completions.create(
        model=BASE,
        prompt=["one two", "three"],
        n=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    said = ["", "", "", ""]
    for chunk in chunks:
        assert chunk.usage is None
        for choice in chunk.choices:
            said[choice.index] += choice.text
    assert [text.strip() for text in said] == 2 * ["base heard one two"] + 2 * ["base heard three"]
    assert {chunk.id for chunk in [*chunks, last]} == {last.id}
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 14)
    platform.usage_of(requests=2)


@pytest.mark.parametrize("stream", [False, True])
def test_if_one_text_cannot_be_read_none_is_answered_and_nothing_billed(
    platform: Platform, *, stream: bool
) -> None:
    client = platform.openai()
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(
            model=BASE, prompt=["hold it", "word " * 1000], stream=stream, max_tokens=50
        )
    assert caught.value.code == "context_length_exceeded"
    client.completions.create(model=BASE, prompt=[1, 2])
    (line,) = platform.usage_of(requests=1).usage
    assert line.completion_tokens == 4


def test_hanging_up_ends_every_text_and_what_was_said_is_counted(platform: Platform) -> None:
    stream = platform.openai().completions.create(
        model=BASE, prompt=["hold one", "hold two"], stream=True
    )
    spoken: set[int] = set()
    while spoken != {0, 1}:
        spoken |= {choice.index for choice in next(stream).choices if choice.text}
    stream.close()
    (line,) = platform.usage_of(requests=2).usage
    assert line.completion_tokens == 2
    assert len(platform.engine.aborted) == 2


def test_a_text_that_breaks_off_ends_with_an_error_and_costs_nothing(platform: Platform) -> None:
    client = platform.openai()
    with pytest.raises(openai.APIError, match="middle of the answer"):
        list(client.completions.create(model=BASE, prompt=["break it", "hold it"], stream=True))
    client.completions.create(model=BASE, prompt="hello")
    (line,) = platform.usage_of(requests=1).usage
    assert line.prompt_tokens == 1


def test_what_is_not_served_is_a_bad_request(platform: Platform) -> None:
    with pytest.raises(openai.BadRequestError, match="not served") as caught:
        platform.openai().completions.create(model=BASE, prompt="hello", echo=True)
    assert caught.value.param == "echo"
