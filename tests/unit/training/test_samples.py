import math
from collections.abc import Sequence

import pytest

from freesolo.schemas.runs import Sample as WireSample
from training_backend.recipes.task import Sample
from training_backend.samples import CHARACTERS, PER_STEP, cut, due, spread, to_wire

ASSISTANT = {"role": "assistant", "content": "42"}


def sample(reward: float | None = 1.0, **changes: object) -> Sample:
    values: dict[str, object] = {
        "example": 0,
        "rollout": 0,
        "messages": [{"role": "user", "content": "6 * 7?"}],
        "completion": [ASSISTANT],
        "reward": reward,
        "advantage": 0.0,
        "finish": "stop",
        "tokens": 2,
    }
    return Sample(**(values | changes))  # type: ignore[arg-type]


def rewards(samples: Sequence[Sample]) -> list[float | None]:
    return [each.reward for each in samples]


def test_all_samples_of_a_small_step_are_kept_the_best_last() -> None:
    assert rewards(spread([sample(number) for number in (3.0, 1.0, None, 2.0)])) == [None, 1, 2, 3]


def test_of_a_large_step_the_worst_the_best_and_some_between_are_kept() -> None:
    kept = rewards(spread([sample(number / 511) for number in range(512)]))
    assert len(kept) == PER_STEP
    assert (kept[0], kept[-1]) == (0.0, 1.0)
    assert kept == sorted(kept, key=lambda reward: reward or 0.0)


def test_what_could_not_be_scored_counts_as_the_worst() -> None:
    many = [sample(0.0)] * 30 + [sample(None, error="hung")]
    assert spread(many)[0].error == "hung"


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (1, True),
        (100, True),
        (101, False),
        (110, True),
        (1000, True),
        (1010, False),
        (1100, True),
        (12_100, False),
    ],
)
def test_samples_are_kept_more_rarely_the_longer_a_run_is(step: int, kept: bool) -> None:
    assert due(step, total_steps=5000) is kept


def test_the_last_step_always_has_samples() -> None:
    assert due(1234, total_steps=1234)


def test_a_million_steps_keep_samples_of_a_few_hundred() -> None:
    assert sum(due(step, 1_000_000) for step in range(1, 1_000_001)) == 460


def test_a_long_text_loses_its_middle_and_says_how_much() -> None:
    assert cut("a" * 50 + "b" * 2000 + "c" * 50, 100) == (
        "a" * 50 + " [... 2,000 characters ...] " + "c" * 50
    )
    assert cut("short", 100) == "short"


def test_the_messages_of_a_long_episode_share_the_room() -> None:
    turns = [{"role": "user", "content": "x" * 10_000}] * 500
    sent = to_wire(sample(messages=turns, completion=turns))
    assert len(sent.messages) == len(sent.completion) == 41
    assert sent.messages[20].content == "[... 460 messages ...]"
    assert sum(len(item.content) for item in sent.messages) < 1.3 * CHARACTERS


def test_numbers_that_json_cannot_write_are_left_out() -> None:
    sent = to_wire(sample(math.nan, advantage=math.inf, metrics={"a": 1.0, "b": math.nan}))
    assert (sent.reward, sent.advantage, sent.metrics) == (None, None, {"a": 1.0})


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (
            [{"type": "text", "text": "What is this? "}, {"type": "image_url"}],
            "What is this? [image_url]",
        ),
        (None, ""),
        ("half \ud800, zero \0", "half ?, zero \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_content_of_any_shape_becomes_text_that_can_be_stored(content: object, shown: str) -> None:
    sent = to_wire(sample(completion=[{"role": "assistant", "content": content}]))
    assert sent.completion[0].content == shown
    assert WireSample.model_validate_json(sent.model_dump_json()) == sent
