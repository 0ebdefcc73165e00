"""Task contracts: a task described in prose, with a specification for programs inside it.

A contract is a text file. Its specification is the whole text, if that is JSON, or else the first
block that is fenced as `freesolo-contract`. Needs only the standard library.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast

from freesolo.datasets.types import Message

__all__ = [
    "ChatContent",
    "ChatContentPart",
    "ChatMessage",
    "ContractMessageSpec",
    "ContractMethod",
    "ContractScale",
    "ContractSpec",
    "PromptConfig",
    "RewardFunctionSpec",
    "build_oracle_messages",
    "extract_contract_spec",
    "load_contract_spec",
    "load_contract_text",
]

ContractScale: TypeAlias = Literal["boolean", "numeric"]
ContractMethod: TypeAlias = Literal["llm", "rule_based"]

_FENCE = re.compile(
    r"^ {0,3}```[ \t]*(?:json[ \t]+)?freesolo-contract[ \t]*\r?$(.*?)^ {0,3}```",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)


class ChatContentPart(TypedDict, total=False):
    """A part of a message: text, or an image as a data URI."""

    type: str
    text: str
    image_url: str | dict[str, str]


ChatContent: TypeAlias = str | list[ChatContentPart]


class ChatMessage(TypedDict):
    """A message as models read it."""

    role: str
    content: ChatContent


class ContractMessageSpec(TypedDict):
    """One message of a prompt that is written out."""

    role: str
    content: str


class PromptConfig(TypedDict, total=False):
    """What a model is asked with: `system` and `user`, or `messages`."""

    system: str
    user: str
    messages: list[ContractMessageSpec]


class RewardFunctionSpec(TypedDict):
    """One thing by which an answer is judged."""

    name: str
    description: str
    scale: ContractScale
    method: ContractMethod


class ContractSpec(TypedDict, total=False):
    """The part of a contract that programs read."""

    prompt: PromptConfig
    reward_functions: list[RewardFunctionSpec]


def load_contract_text(path: str | Path) -> str:
    """Return the text of a contract, without blanks around it."""
    return Path(path).read_text(encoding="utf-8-sig").strip()


def load_contract_spec(path: str | Path) -> ContractSpec | None:
    """Return the specification in a contract's file, None if it has none."""
    return extract_contract_spec(load_contract_text(path))


def extract_contract_spec(text: str) -> ContractSpec | None:
    """Return the specification in a contract's text, None if it has none.

    Raise `json.JSONDecodeError` if it is not JSON, `ValueError` if it is no object or has the key
    `evaluations`.
    """
    source = text.strip()
    if not source.startswith(("{", "[")):
        fenced = _FENCE.search(source)
        source = fenced[1].strip() if fenced else ""
    if not source:
        return None
    spec = json.loads(source)
    if not isinstance(spec, dict):
        raise ValueError(f"A contract's specification is an object, not {type(spec).__name__}")
    if "evaluations" in spec:
        raise ValueError("A contract's specification has no `evaluations`: use `reward_functions`")
    return cast("ContractSpec", spec)


def build_oracle_messages(
    task_text: str, contract_text: str, contract_spec: ContractSpec | None = None
) -> list[Message]:
    """Return the messages that a model is asked for the gold answer of a task with.

    Without `contract_spec` it is read from `contract_text`. Its `prompt.system` and `prompt.user`
    come first, with the task in place of `{input}`; then `prompt.messages`, as they are written; and
    if there is neither, the task alone is asked.
    """
    spec = extract_contract_spec(contract_text) if contract_spec is None else contract_spec
    prompt = _prompt(spec or {})
    system, user = _filled(prompt.get("system"), task_text), _filled(prompt.get("user"), task_text)
    if not system and not user:
        return list(_written_out(prompt)) or [_message("user", task_text)]
    opening = [_message("system", system)] if system else []
    return [*opening, _message("user", user or task_text)]


def _prompt(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    prompt = spec.get("prompt")
    return prompt if isinstance(prompt, dict) else {}


def _filled(template: object, task_text: str) -> str:
    return template.strip().replace("{input}", task_text) if isinstance(template, str) else ""


def _written_out(prompt: Mapping[str, Any]) -> Iterator[Message]:
    messages = prompt.get("messages")
    for item in messages if isinstance(messages, list) else ():
        if isinstance(item, dict):
            role = str(item.get("role") or "").strip()
            yield _message(role or "user", str(item.get("content", "")))


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
