"""`[train]` of a config, one table for each algorithm: how long, how large, how fast, how strict.

Keys and defaults are those of the public reference documentation of such configs. LoRA's alpha is
always twice the rank.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from freesolo.domain.refs import AdapterRef
from freesolo.domain.teachers import Teacher, parse_teacher

DEFAULT_RANK = 32
# What a step may sample at the most, so that no config asks for a million answers.
MAX_ROLLOUTS = 4096
_MAX_COMPLETION = 131_072
_SHAPES = ("json", "regex", "choice", "json_object")


class Table(BaseModel):
    """A table of the config: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class CreditAssignment(StrEnum):
    """Whom a reward is credited to: every turn of an episode alike, or each by its own."""

    PER_EPISODE = "per_episode"
    PER_TURN = "per_turn"


class StructuredOutputs(Table):
    """What every answer must look like: exactly one of `json`, `regex`, `choice`, `json_object`."""

    json_schema: Annotated[dict[str, JsonValue] | None, Field(alias="json")] = None
    regex: str | None = Field(default=None, min_length=1, max_length=4096)
    choice: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None, min_length=1, max_length=1000
    )
    json_object: bool | None = None
    disable_any_whitespace: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """Accept the JSON text that other clients send for the table."""
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError("structured_outputs is no table, and no JSON of one") from None
        return value

    @model_validator(mode="after")
    def _one_shape(self) -> "StructuredOutputs":
        given = [name for name, value in self.shapes().items() if value not in (None, False)]
        if len(given) != 1:
            named = f"not {' and '.join(given)}" if given else "none is given"
            raise ValueError(f"exactly one of {', '.join(_SHAPES)} is needed; {named}")
        return self

    def shapes(self) -> Mapping[str, object]:
        """Return what each shape was given as, None where it was not."""
        values = (self.json_schema, self.regex, self.choice, self.json_object)
        return dict(zip(_SHAPES, values, strict=True))

    def for_vllm(self) -> dict[str, object]:
        """Return the shape in the words of vLLM's API."""
        given = {name: shape for name, shape in self.shapes().items() if shape not in (None, False)}
        return given | ({"disable_any_whitespace": True} if self.disable_any_whitespace else {})


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if list(steps) != sorted(set(steps)) or any(step < 1 for step in steps):
        raise ValueError("steps must be positive and rise strictly")
    return steps


def _adapter(text: str) -> str:
    return str(AdapterRef.parse(text))


Epochs = Annotated[
    float, Field(gt=0, le=1000, description="Passes over the examples, rounded up to a step.")
]
BatchSize = Annotated[
    int,
    Field(
        ge=1,
        le=1024,
        validation_alias=AliasChoices("batch_size", "prompts_per_step"),
        description="Prompts in an update, with SFT rows. `prompts_per_step` is the older spelling.",
    ),
]


class TrainTable(Table):
    """What every algorithm is told. The last step is always saved."""

    epochs: Epochs = 1.0
    max_steps: int = Field(
        default=0, ge=0, le=1_000_000, description="Exact number of updates; 0: `epochs` decides."
    )
    max_examples: int = Field(
        default=0,
        ge=0,
        description="Only the first so many examples, in the dataset's order; 0: all.",
    )
    batch_size: BatchSize = 8
    learning_rate: float = Field(
        default=1e-5, gt=0, le=1, description="Learning rate, the same in every step."
    )
    lora_rank: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description=f"Rank of the adapter, at most the model's; {DEFAULT_RANK} unless given. With "
        "`init_from_adapter` it is that adapter's, and must not be given.",
    )
    init_from_adapter: Annotated[str, AfterValidator(_adapter)] | None = Field(
        default=None,
        description="Go on from this adapter, `RUN_ID` or `RUN_ID/step-N`, instead of a fresh one.",
    )
    max_context_tokens: int = Field(
        default=0,
        ge=0,
        description="Most tokens of prompt and answers together. 0: 2048, or the model's context if "
        "that is smaller.",
    )
    save_every: int = Field(
        default=50, ge=0, description="Steps between checkpoints; 0: only the last step is saved."
    )
    save_at_steps: Annotated[tuple[int, ...], AfterValidator(_rising)] = Field(
        default=(), description="Save at these steps instead. The last step is always saved."
    )

    @model_validator(mode="before")
    @classmethod
    def _rank(cls, value: object) -> object:
        """Give the rank its default, unless it comes with another adapter."""
        if not isinstance(value, dict):
            return value
        inherited, rank = value.get("init_from_adapter"), value.get("lora_rank")
        if inherited is None:
            return {**value, "lora_rank": DEFAULT_RANK if rank is None else rank}
        if rank is not None:
            raise ValueError(
                f"`lora_rank` is that of the adapter {inherited!r}; leave it out (got {rank!r})"
            )
        return value


class SftTable(TrainTable):
    """`[train]` of SFT. The learning rate falls linearly to zero after 3 % of warm-up."""

    epochs: Epochs = 2.0
    batch_size: BatchSize = 32
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Peak learning rate.")


def _texts(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class RolloutTable(TrainTable):
    """What algorithms that sample are told besides."""

    group_size: int = Field(default=1, ge=1, le=256, description="Rollouts of each prompt.")
    temperature: float = Field(
        default=1.0, gt=0, le=2, description="Temperature that rollouts are sampled at."
    )
    max_completion_tokens: int = Field(
        default=0,
        ge=0,
        le=_MAX_COMPLETION,
        description="Most tokens of one answer of the model, in each turn anew. 0: 320 with GRPO, 512 "
        "with OPD, and 1536 with `thinking`.",
    )
    stop_sequences: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_texts)
    ] = Field(
        default=(),
        max_length=16,
        description="Texts that end an answer. The environment gets what stands before them.",
    )
    structured_outputs: StructuredOutputs | None = Field(
        default=None,
        description="What every answer must look like: a table with `json` (a schema), `regex`, "
        "`choice` or `json_object`.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> "RolloutTable":
        rollouts = self.batch_size * self.group_size
        if rollouts > MAX_ROLLOUTS:
            raise ValueError(
                f"batch_size times group_size is {rollouts}, and a step samples at most "
                f"{MAX_ROLLOUTS}"
            )
        return self


class GrpoTable(RolloutTable):
    """`[train]` of GRPO. A step samples `batch_size` times `group_size` rollouts."""

    batch_size: BatchSize = 64
    group_size: int = Field(
        default=8,
        ge=2,
        le=256,
        description="Rollouts of each prompt; each is compared with the mean of its group.",
    )
    kl_penalty_coef: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Weight of the divergence from the base model in the loss; 0: it is not computed.",
    )
    entropy_quantile: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of each answer's tokens that is trained: those the model was least sure "
        "of. 1: all.",
    )
    thinking_length_penalty_coef: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="What each token of thinking takes from the reward. Needs `thinking`.",
    )
    credit_assignment: CreditAssignment = Field(
        default=CreditAssignment.PER_EPISODE,
        description="`per_turn` credits each turn by the reward's `per_turn_rewards`.",
    )
    advantage_clip: float | None = Field(
        default=None, gt=0, description="Accepted, and without effect."
    )


def _teacher(text: str) -> str:
    return str(parse_teacher(text))


class OpdTable(RolloutTable):
    """`[train]` of on-policy distillation: the teacher judges each token that the model samples."""

    teacher_model: Annotated[str, AfterValidator(_teacher)] = Field(
        min_length=1,
        max_length=500,
        description="Who teaches: a base model's id, an adapter (`RUN_ID`, `RUN_ID/step-N`), or a "
        "vLLM endpoint that gives prompt logprobs, as `https://host/v1#model`. Its key, if it wants "
        "one, is the secret TEACHER_API_KEY.",
    )
    kl_penalty_coef: float = Field(
        default=1.0,
        gt=0,
        le=10,
        description="How much a token that the teacher would not say costs.",
    )

    @property
    def teacher(self) -> Teacher:
        """Who teaches, parsed."""
        return parse_teacher(self.teacher_model)
