"""OpenAI's older format on our side of the engine: text that is continued, without a conversation.

Prompts go to the model as they are: no chat template is put around them, so an adapter's thinking
and the form of its answers, which belong to conversations, play no part. Each prompt is a request
of its own to the engine, with an account of its own: an engine that is given several at once counts
the cached tokens of only one of them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from freesolo.domain.prices import Asked
from freesolo.schemas.deployments import Target
from serving_backend.engine import Document
from serving_backend.formats import NOT_SENT, GenerationRequest, TokenLimit

MAX_PROMPTS = 128
# OpenAI's, for requests that do not say.
_ANSWER_TOKENS = 16

_Text = Annotated[str, Field(min_length=1)]
_TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, fail_fast=True)
]
_Several = Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)


def _kind(prompt: object) -> str:
    """Return which kind of prompt this is meant to be, by its first part."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str):
        return "text"
    first = prompt[0] if prompt else ""
    if isinstance(first, int):
        return "tokens"
    return "texts" if isinstance(first, str) else "token_lists"


Prompt = Annotated[
    Annotated[_Text, Tag("text")]
    | Annotated[list[_Text], _Several, Tag("texts")]
    | Annotated[_TokenIds, Tag("tokens")]
    | Annotated[list[_TokenIds], _Several, Tag("token_lists")],
    Discriminator(_kind),
]


class TextRequest(GenerationRequest):
    """The body of `POST /v1/completions`."""

    path: ClassVar[str] = "/v1/completions"
    id_prefix: ClassVar[str] = "cmpl-"

    prompt: Prompt
    max_tokens: TokenLimit | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    @field_validator("echo", "suffix")
    @classmethod
    def _is_served(cls, value: object) -> object:
        if value:
            raise ValueError("not served: an answer is what follows the prompt, and nothing else")
        return value

    @model_validator(mode="after")
    def _returns_all_that_it_makes(self) -> Self:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("`best_of` other than `n` is not served: all answers are returned")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, also if there is one alone."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return cast("list[str | list[int]]", self.prompt)

    @property
    def prompt_count(self) -> int:
        """How many texts are to be continued."""
        return len(self.prompts)

    def asked(self, *, context: int) -> list[Asked]:
        """Return the size of each prompt and its answers."""
        return [
            Asked(
                text_bytes=len(prompt.encode() if isinstance(prompt, str) else prompt),
                messages=1,
                answers=self.n or 1,
                answer_tokens=min(self.max_tokens or _ANSWER_TOKENS, context),
            )
            for prompt in self.prompts
        ]

    def for_engine(self, model: str, target: Target) -> list[Document]:
        """Return a request of the engine for each prompt."""
        body = self.model_dump(
            exclude_none=True, exclude=NOT_SENT | {"prompt", "echo", "suffix", "best_of"}
        )
        body |= {"model": model, "max_tokens": self.max_tokens or _ANSWER_TOKENS}
        body |= self.in_engines_terms()
        return [body | {"prompt": prompt} for prompt in self.prompts]

    def said(self, choice: Mapping[str, Any]) -> Document:
        """Return the text of a choice."""
        return {"text": choice["text"]}

    def piece(self, choice: Mapping[str, Any]) -> Document:
        """Return the text that a chunk adds."""
        return self.said(choice)
