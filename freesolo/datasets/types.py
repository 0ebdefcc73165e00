"""What a dataset is made of. Nothing here checks its arguments: reading does."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from freesolo.datasets.serialize import serialize_value

Message = dict[str, Any]
"""A chat message: `role`, `content` (text or parts), and whatever else its author put there."""


@dataclass(frozen=True)
class TaskExample:
    """One row of a dataset.

    `record` is the row as it was read, `input` the text of its question, `output` the gold answer
    in any form that `target_messages` understands, None if the row has none.
    """

    record: dict[str, Any]
    input: str
    id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    output: object | None = None


class PromptBuilder(Protocol):
    """Whatever turns an example into the messages a model sees; every environment is one."""

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[Message]:
        """Return the model-input messages of `example`."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Examples in a fixed order."""

    examples: list[TaskExample]

    def build_conversations(
        self, builder: PromptBuilder, prompt_text: str = ""
    ) -> list[list[Message]]:
        """Return, for each example, its prompt followed by its gold answer.

        Raise `ValueError` for an example without one.
        """
        return [_conversation(example, builder, prompt_text) for example in self.examples]


def target_messages(output: object) -> list[Message]:
    """Turn a gold answer into the messages that a model should have written.

    A list of messages, alone or as the only key `messages` of an object, is checked and returned.
    Anything else becomes one assistant message. Raise `ValueError` naming the message at fault.
    """
    if isinstance(output, dict) and set(output) == {"messages"}:
        return _checked_messages(output["messages"])
    if isinstance(output, list) and output and all(_looks_like_message(item) for item in output):
        return _checked_messages(output)
    content = "" if output is None else serialize_value(output)
    return [{"role": "assistant", "content": content}]


def _conversation(example: TaskExample, builder: PromptBuilder, prompt_text: str) -> list[Message]:
    if example.output is None:
        raise ValueError(f"Example {example.id} has no output to imitate")
    start_episode = getattr(builder, "start_episode", None)
    build = builder.build_prompt_messages if start_episode is None else start_episode
    return [*build(example, prompt_text), *target_messages(example.output)]


def _looks_like_message(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("role"), str)


def _checked_messages(messages: object) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list that is not empty")
    return [_checked_message(message, index) for index, message in enumerate(messages)]


def _checked_message(message: object, index: int) -> Message:
    if not isinstance(message, dict):
        raise ValueError(f"messages[{index}] must be an object")
    role = message.get("role")
    if not isinstance(role, str) or not role.strip():
        raise ValueError(f"messages[{index}].role must be text that is not empty")
    content = message.get("content")
    calls_only = content is None and bool(message.get("tool_calls"))
    if not isinstance(content, str) and not calls_only:
        raise ValueError(f"messages[{index}].content must be text")
    return {**message, "role": role.strip()}
