"""What OpenAI's two formats, chat and text, share: arguments on the way in, form on the way out.

Requests follow OpenAI in refusing an argument they do not know: a misspelt `max_token` that is
ignored costs more than an error. Arguments that OpenAI knows and that change nothing here are
accepted. Answers are built from the fields that OpenAI defines, so that nothing of the engine's own
(token ids, transfer parameters, internal names) can pass through.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from freesolo.domain.prices import Asked
from freesolo.schemas.deployments import Target
from serving_backend.engine import Document

# Arguments that only the gateway reads, or nobody.
NOT_SENT = {
    "model",
    "stream",
    "stream_options",
    "store",
    "metadata",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
}
# Below this temperature an engine draws nothing.
_GREEDY = 1e-5
_COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_SignedInt64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
TokenLimit = Annotated[int, Field(ge=1, lt=2**31)]
_TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class StreamOptions(BaseModel):
    """What a streamed answer ends with."""

    include_usage: bool = False


@dataclass(frozen=True)
class Head:
    """What every piece of one answer begins with. `fingerprint` is the immutable state that answers."""

    id: str
    created: int
    model: str
    fingerprint: str

    def of(self, kind: str) -> Document:
        """Return it as the beginning of an object of a kind."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class GenerationRequest(BaseModel):
    """What a request in either format may say of how its answer is made."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    # Where OpenAI and the engine take it, and what the ids of its answers begin with.
    path: ClassVar[str]
    id_prefix: ClassVar[str]

    # No database takes a name with a NUL in it.
    model: str = Field(max_length=500, pattern=r"^[^\x00]+$")
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=32)
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: _SignedInt64 | None = None
    logit_bias: dict[_TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _streams_as_it_says(self) -> Self:
        if self.stream_options and not self.stream:
            raise ValueError("`stream_options` needs `stream` to be true")
        return self

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a streamed answer ends with its token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    @abstractmethod
    def prompt_count(self) -> int:
        """How many prompts it has."""

    @abstractmethod
    def asked(self, *, context: int) -> list[Asked]:
        """Return the size of each prompt's part, of a model with room for `context` tokens."""

    @abstractmethod
    def for_engine(self, model: str, target: Target) -> list[Document]:
        """Return the engine's request for each prompt, under the engine's name of the model.

        A stream is always asked to end with its token counts: they are what is metered. Raise
        `RequestNotServable` for what the model cannot do.
        """

    def in_engines_terms(self) -> Document:
        """Return what an engine must be told otherwise than it was asked, whatever the format."""
        terms: Document = {}
        if (self.n or 1) > 1 and self.temperature is not None and self.temperature < _GREEDY:
            # An engine gives a greedy request one answer. So the likeliest token is drawn from
            # itself alone; only where several are just as likely may the answers part.
            terms |= {"temperature": 1.0, "top_k": 1}
        if self.stream:
            terms |= {"stream": True, "stream_options": {"include_usage": True}}
        return terms

    @abstractmethod
    def said(self, choice: Mapping[str, Any]) -> Document:
        """Return what one choice of a whole answer says."""

    @abstractmethod
    def piece(self, choice: Mapping[str, Any]) -> Document:
        """Return what one choice of a chunk adds."""

    def answer(self, head: Head, answers: Sequence[Mapping[str, Any]]) -> Document:
        """Return the engine's whole answers, one for each prompt, as OpenAI would write them."""
        choices = [
            self._choice(position, choice) | self.said(choice)
            for position, answer in enumerate(answers)
            for choice in answer["choices"]
        ]
        usage = public_usage(total_counts(answer["usage"] for answer in answers))
        return head.of(answers[0]["object"]) | {"choices": choices, "usage": usage}

    def chunk(self, head: Head, position: int, chunk: Mapping[str, Any]) -> Document:
        """Return a piece of the engine's answer to the prompt at `position`, without usage."""
        choices = [
            self._choice(position, choice) | self.piece(choice) for choice in chunk["choices"]
        ]
        return head.of(chunk["object"]) | {"choices": choices}

    def usage_chunk(self, head: Head, kind: str, usages: Sequence[Mapping[str, Any]]) -> Document:
        """Return the last chunk of a stream that ends with its token counts."""
        return head.of(kind) | {"choices": [], "usage": public_usage(total_counts(usages))}

    def _choice(self, position: int, choice: Mapping[str, Any]) -> Document:
        """Return what choices of both formats have; OpenAI counts through all prompts."""
        return {
            "index": position * (self.n or 1) + choice["index"],
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice.get("finish_reason"),
        }


def counts_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return an engine's token counts by the names of a `UsageRecord`; what it leaves out is 0.

    A request that was ended before its first token has taken nothing: its prompt may not have been read.
    """
    if not usage["completion_tokens"]:
        return dict.fromkeys(_COUNTS, 0)
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": prompt.get("cached_tokens") or 0,
        "completion_tokens": usage["completion_tokens"],
        "reasoning_tokens": completion.get("reasoning_tokens") or 0,
    }


def total_counts(usages: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return the sum of an engine's token counts."""
    total: Counter[str] = Counter()
    for usage in usages:
        total.update(counts_of(usage))
    return total


def public_usage(counts: Mapping[str, int]) -> Document:
    """Return token counts in OpenAI's form."""
    return {
        "prompt_tokens": counts["prompt_tokens"],
        "completion_tokens": counts["completion_tokens"],
        "total_tokens": counts["prompt_tokens"] + counts["completion_tokens"],
        "prompt_tokens_details": {"cached_tokens": counts["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
    }
