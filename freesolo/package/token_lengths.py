"""How many tokens conversations have for a base model: counted with its tokenizer where that is on
this machine, estimated elsewhere.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from freesolo.datasets.types import Message

# English text has about four characters a token; a template adds about as many tokens a message.
_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 6


class TokenCounter(Protocol):
    """Counts the tokens of conversations; `exact` says whether it is no estimate."""

    exact: bool

    def count(self, conversations: Sequence[Sequence[Message]]) -> list[int]:
        """Return the tokens of each conversation, its chat template's included."""


def counter_for(folder: Path | None) -> TokenCounter:
    """Return a counter for the base model in `folder`, an estimating one without it.

    Nothing is fetched, and no model is loaded.
    """
    if folder is None or not (folder / "tokenizer.json").is_file():
        return EstimatingCounter()
    try:
        return TokenizerCounter(folder)
    except ImportError:
        # `tokenizers` and `jinja2` come with the training and serving extras.
        return EstimatingCounter()


class EstimatingCounter:
    """Estimates from the number of characters."""

    exact = False

    def count(self, conversations: Sequence[Sequence[Message]]) -> list[int]:
        """Return the estimate for each conversation."""
        return [
            sum(tokens_of_characters(len(text_of(message))) for message in conversation)
            for conversation in conversations
        ]


class TokenizerCounter:
    """Counts with the model's own tokenizer and chat template.

    Raise `ImportError` if the libraries for that are not installed.
    """

    exact = True

    def __init__(self, folder: Path) -> None:
        from jinja2 import TemplateError  # noqa: PLC0415 - an extra
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - an extra
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra

        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # As `transformers` reads chat templates.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        self._template = environment.from_string(_chat_template(folder, config))
        self._refusal = TemplateError
        self._special = {name: _token(config.get(name)) for name in ("bos_token", "eos_token")}

    def count(self, conversations: Sequence[Sequence[Message]]) -> list[int]:
        """Return the tokens of each conversation."""
        texts = [self._render(conversation) for conversation in conversations]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def _render(self, conversation: Sequence[Message]) -> str:
        messages = [{**message, "content": text_of(message)} for message in conversation]
        try:
            text: str = self._template.render(
                messages=messages, add_generation_prompt=False, **self._special
            )
        except (self._refusal, TypeError):
            # That a template takes no such conversation is for training to say.
            return "\n".join(message["content"] for message in messages)
        return text


def tokens_of_characters(characters: int) -> int:
    """Estimate the tokens of a message of so many characters."""
    return _TOKENS_PER_MESSAGE + math.ceil(characters / _CHARS_PER_TOKEN)


def text_of(message: Message) -> str:
    """Return the text of a message, that of its parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _chat_template(folder: Path, config: Mapping[str, object]) -> str:
    file = folder / "chat_template.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else str(config["chat_template"])


def _token(value: object) -> str:
    """Return a special token, which older files wrap in an object."""
    return str(value["content"]) if isinstance(value, dict) else str(value or "")
