"""Teachers behind an endpoint, asked about rows of several turns."""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from freesolo.errors import EngineUnavailable
from freesolo.runtime.episodes import Ending, Transcript, Turn
from freesolo.runtime.values import Step
from tests.fake_vllm import BASE, KEY, FakeVllm, PairTokens, TinyTokens, logprob
from tests.hubs import serving
from training_backend.chat import ChatFormat
from training_backend.rollouts import Place, Rollout, Spoken
from training_backend.teachers import EndpointTeacher, Lesson, OtherTokens, SameTokens
from training_backend.vllm_client import VllmClient


def lesson(chat: ChatFormat) -> Lesson:
    """Two turns with a question of the environment's between them; the student is always sure."""
    first, second = chat.encode("Grüße!<|im_end|>"), chat.encode("42")
    heard = chat.between(first, [{"role": "user", "content": "And?"}])
    spoken = Spoken(
        prompt=chat.prompt([{"role": "user", "content": "Hello"}]),
        after=first + heard + second,
        turns=(0,) * len(first) + (-1,) * len(heard) + (1,) * len(second),
        logprobs=(0.0,) * (len(first) + len(heard) + len(second)),
    )
    answer = Step(False, ({"role": "user", "content": "And?"},), None, {})
    transcript = Transcript(
        prompt_text="",
        prompt=({"role": "user", "content": "Hello"},),
        max_turns=2,
        turns=(Turn("Grüße!", answer), Turn("42", None)),
        ending=Ending.TURN_LIMIT,
    )
    return Lesson(Rollout(Place(1, 0, 0), transcript, (spoken,)), spoken, spoken.logprobs)


@pytest.fixture
def fake(tiny_folder: Path) -> FakeVllm:
    """A stand-in with the student's tokens; a test may give it others."""
    return FakeVllm(TinyTokens(tiny_folder))


@pytest.fixture
def teacher(fake: FakeVllm) -> Iterator[EndpointTeacher]:
    """The stand-in's base model as a teacher."""
    with serving(fake.app) as url, closing(VllmClient(url, KEY, named="The teacher")) as client:
        yield EndpointTeacher(client, BASE, thinking=False)


def test_what_others_said_is_not_judged(teacher: EndpointTeacher, chat: ChatFormat) -> None:
    asked = lesson(chat)
    (gaps,) = SameTokens(teacher).gaps([asked])
    assert [not math.isnan(gap) for gap in gaps] == [turn >= 0 for turn in asked.spoken.turns]
    said = [gap for gap in gaps if not math.isnan(gap)]
    tokens = [
        token
        for token, turn in zip(asked.spoken.after, asked.spoken.turns, strict=True)
        if turn >= 0
    ]
    assert said == pytest.approx([-logprob(token, 0.0) for token in tokens])


def test_other_tokens_are_asked_about_each_turn_after_what_came_before_it(
    fake: FakeVllm, teacher: EndpointTeacher, chat: ChatFormat
) -> None:
    fake.tokens = PairTokens()
    asked = lesson(chat)
    (gaps,) = OtherTokens(teacher, teacher, chat).gaps([asked])

    assert [not math.isnan(gap) for gap in gaps] == [turn >= 0 for turn in asked.spoken.turns]
    read = {fake.tokens.decode(request["prompt"]) for request in fake.requests}
    assert read == {
        "[user]Hello<|im_end|>[assistant]Grüße!<|im_end|>",
        "[user]Hello<|im_end|>[assistant]Grüße!<|im_end|>[user]And?<|im_end|>[assistant]42",
    }
    # "42" is one token to the teacher, and shared by the student's two.
    (whole,) = fake.tokens.encode("42")
    assert gaps[-2:] == pytest.approx((-logprob(whole, 0.0) / 2,) * 2)


def test_an_endpoint_that_fails_for_a_moment_is_asked_again(
    fake: FakeVllm, teacher: EndpointTeacher, chat: ChatFormat
) -> None:
    fake.failures = 1
    (gaps,) = SameTokens(teacher).gaps([lesson(chat)])
    assert any(not math.isnan(gap) for gap in gaps)


def test_an_endpoint_that_stays_away_fails_the_step(
    fake: FakeVllm, teacher: EndpointTeacher, chat: ChatFormat
) -> None:
    fake.dead = True
    with pytest.raises(EngineUnavailable, match="The teacher failed to answer"):
        SameTokens(teacher).gaps([lesson(chat)])
