"""OpenAI's older format, both ways."""

import pytest
from pydantic import ValidationError

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.prices import prices_of
from freesolo.schemas.deployments import Target
from serving_backend.formats import Head
from serving_backend.texts import MAX_PROMPTS, TextRequest

TARGET = Target(
    org="acme",
    key_id="k",
    model="m",
    prices=prices_of(SMOLLM2_135M),
    base_model=SMOLLM2_135M,
    thinking=False,
    structured_outputs={"choice": ["yes", "no"]},
)
PUBLIC = Head(id="cmpl-1", created=1, model="m", fingerprint="f")


def _request(**fields: object) -> TextRequest:
    return TextRequest.model_validate({"model": "m", "prompt": "Once"} | fields)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("Once", ["Once"]),
        (["Once", "Twice"], ["Once", "Twice"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_each_prompt_is_a_request_of_its_own(prompt: object, prompts: list[object]) -> None:
    bodies = _request(prompt=prompt, seed=7).for_engine("adapter-1", TARGET)
    assert bodies == [
        {"model": "adapter-1", "prompt": each, "seed": 7, "max_tokens": 16} for each in prompts
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [""]},
        {"prompt": [-1]},
        {"prompt": [1, "a"]},
        {"prompt": ["a", 1]},
        {"prompt": {"text": "a"}},
        {"prompt": None},
        {"prompt": ["a"] * (MAX_PROMPTS + 1)},
        {"logprobs": 6},
        {"logprobs": -1},
        {"max_tokens": 0},
        {"echo": True},
        {"suffix": "."},
        {"best_of": 2},
        {"messages": []},
        {"stream_options": {"include_usage": True}},
        {"temperature": float("nan")},
        {"logit_bias": {"one": 1}},
    ],
)
def test_what_is_wrong_or_not_served_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _request(**fields)


def test_the_defaults_of_what_is_not_served_may_be_written_out() -> None:
    fields = {"echo": False, "suffix": None, "best_of": 1, "user": "u", "stream_options": None}
    (body,) = _request(**fields).for_engine("m", TARGET)
    assert body == {"model": "m", "prompt": "Once", "max_tokens": 16}


def test_choices_are_numbered_through_all_prompts() -> None:
    answer = {
        "object": "text_completion",
        "choices": [
            {"index": index, "text": "x", "finish_reason": "stop", "prompt_token_ids": [1]}
            for index in range(2)
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }
    public = _request(prompt=["a", "b"], n=2).answer(PUBLIC, [answer, answer])
    assert [choice["index"] for choice in public["choices"]] == [0, 1, 2, 3]
    assert "prompt_token_ids" not in public["choices"][0]
    assert public["usage"]["total_tokens"] == 10
    assert public["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    chunk = _request(prompt=["a", "b"], n=2).chunk(PUBLIC, 1, answer)
    assert [choice["index"] for choice in chunk["choices"]] == [2, 3]


def test_a_prompt_is_never_smaller_than_its_tokens() -> None:
    (text, tokens) = (
        _request(prompt=["\u00e9" * 50], n=3, max_tokens=9).asked(context=1000)[0],
        _request(prompt=[5] * 70).asked(context=1000)[0],
    )
    assert (text.text_bytes, text.answers, text.answer_tokens) == (100, 3, 9)
    assert (tokens.text_bytes, tokens.answer_tokens) == (70, 16)
