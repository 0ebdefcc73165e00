"""Structured outputs in the sampler of the trainer's process."""

import json
import math
import re
from dataclasses import replace

import pytest
from peft import PeftModel
from transformers import PreTrainedTokenizerFast

from freesolo.domain.train_tables import StructuredOutputs
from freesolo.errors import InvalidTrainSpec
from training_backend.chat import ChatFormat
from training_backend.recipes.practising import in_process
from training_backend.sampling.sampler import Finish, Request, Rules, Sampled
from training_backend.sampling.trained_adapter import TrainedAdapter

PROMPT = tuple(range(10, 30))


def sample(
    policy: PeftModel, chat: ChatFormat, shape: StructuredOutputs, *, thinking: bool = False
) -> list[Sampled]:
    rules = Rules(
        temperature=1.0,
        stop_ids=chat.stop_ids,
        structured_outputs=shape,
        thinking_end=chat.encode("a") if thinking else (),
    )
    sampler = in_process(policy, rules, chat, room=1 << 26)
    return sampler.sample([Request(PROMPT, seed, 200) for seed in range(4)])


def texts(chat: ChatFormat, answers: list[Sampled]) -> list[str]:
    assert {answer.finish for answer in answers} == {Finish.STOP}
    return [chat.decode(answer.ids, special=False) for answer in answers]


def test_a_choice_is_one_of_its_texts(policy: PeftModel, chat: ChatFormat) -> None:
    choices = ('say "yes"', "nö\n")
    said = texts(chat, sample(policy, chat, StructuredOutputs(choice=choices)))
    assert set(said) == set(choices)


def test_a_pattern_is_matched(policy: PeftModel, chat: ChatFormat) -> None:
    said = texts(chat, sample(policy, chat, StructuredOutputs(regex=r"[0-9]{4}-[0-9]{2}")))
    assert all(re.fullmatch(r"[0-9]{4}-[0-9]{2}", text) for text in said)


def test_a_schema_is_kept(policy: PeftModel, chat: ChatFormat) -> None:
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "colour": {"enum": ["red", "blue"]}},
        "required": ["sure", "colour"],
        "additionalProperties": False,
    }
    shape = StructuredOutputs.model_validate({"json": schema, "disable_any_whitespace": True})
    for text in texts(chat, sample(policy, chat, shape)):
        found = json.loads(text)
        assert isinstance(found["sure"], bool)
        assert found["colour"] in ("red", "blue")


def test_thinking_is_not_narrowed(policy: PeftModel, chat: ChatFormat) -> None:
    shape = StructuredOutputs(choice=("yes",))
    answers = sample(policy, chat, shape, thinking=True)
    texts = [chat.decode(answer.ids, special=False) for answer in answers]
    ended = [
        text.partition("a")
        for text, answer in zip(texts, answers, strict=True)
        if answer.finish is Finish.STOP and "a" in text
    ]
    assert {after for _, _, after in ended} == {"yes"}
    assert any(thought for thought, _, _ in ended)


def test_what_is_told_of_a_token_is_what_it_was_before_the_grammar(
    policy: PeftModel, chat: ChatFormat
) -> None:
    answer = sample(policy, chat, StructuredOutputs(choice=("yes",)))[0]
    trainer = TrainedAdapter(policy, 1.0).logprobs(PROMPT, answer.ids)
    assert answer.logprobs == pytest.approx(trainer, abs=0.05)
    assert sum(answer.logprobs) < math.log(0.01)


def test_the_same_seeds_give_the_same_answers(policy: PeftModel, chat: ChatFormat) -> None:
    shape = StructuredOutputs(regex=r"[a-z]{8}")
    first = sample(policy, chat, shape)
    assert sample(policy, chat, shape) == first
    assert len({replace(answer, logprobs=()) for answer in first}) > 1


def test_a_pattern_that_is_none_is_refused(
    policy: PeftModel, chat: ChatFormat, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(InvalidTrainSpec, match="structured_outputs"):
        sample(policy, chat, StructuredOutputs(regex="[a-"))
