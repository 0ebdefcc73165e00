from typing import Any

import pytest

from freesolo.datasets import TaskExample, load_dataset
from freesolo.datasets.types import Message
from tests.contract.environment.clauses import clause


class Plain:
    """A builder of prompts that is no environment."""

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
        return [{"role": "user", "content": prompt_text + example.input}]


class Starting(Plain):
    """A builder that also begins episodes."""

    def start_episode(self, example: TaskExample, prompt_text: str) -> list[Message]:
        return [{"role": "system", "content": prompt_text}]


@clause("C8.4")
def test_a_conversation_is_a_prompt_and_its_gold_answer() -> None:
    dataset = load_dataset([{"input": "q", "output": 3}])

    assert dataset.build_conversations(Plain(), "> ") == [
        [{"role": "user", "content": "> q"}, {"role": "assistant", "content": "3"}]
    ]


@clause("C8.4")
def test_a_builder_that_begins_episodes_is_asked_for_one() -> None:
    dataset = load_dataset([{"input": "q", "output": ""}])

    ((first, _),) = dataset.build_conversations(Starting(), "p")

    assert first == {"role": "system", "content": "p"}


@clause("C8.4")
def test_an_example_without_a_gold_answer_makes_no_conversation() -> None:
    with pytest.raises(ValueError, match="example_000000 has no output"):
        load_dataset([{"input": "q"}]).build_conversations(Plain())


@clause("C8.4")
def test_a_builder_may_begin_episodes_and_nothing_else() -> None:
    class Beginning:
        def start_episode(self, example: TaskExample, prompt_text: str) -> list[Message]:
            return []

    builder: Any = Beginning()

    assert load_dataset([{"input": "q", "output": "a"}]).build_conversations(builder) == [
        [{"role": "assistant", "content": "a"}]
    ]
