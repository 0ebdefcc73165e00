"""The one-page TOML that describes a run, and the rules that hold between its keys."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from freesolo.domain.catalog import Algorithm, BaseModelEntry
from freesolo.domain.fields import EnvRefText, RequirementText
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.secrets import MAX_NAMES, SecretName
from freesolo.errors import InvalidTrainSpec, Problem

DEFAULT_CONTEXT_TOKENS = 2048


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if list(steps) != sorted(set(steps)) or any(step < 1 for step in steps):
        raise ValueError("steps must be positive and rise strictly")
    return steps


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class EnvironmentSpec(_Table):
    """`[environment]`: which task, and with which parameters."""

    id: EnvRefText = Field(
        description="Reference of the environment: `org/name`, a version, a range or a digest."
    )
    params: dict[str, JsonValue] = Field(
        default_factory=dict, description="Keyword arguments for `load_environment`."
    )
    pip: tuple[RequirementText, ...] = Field(
        default=(), description="Requirements of an environment that has no manifest."
    )
    secrets: tuple[SecretName, ...] = Field(
        default=(),
        max_length=MAX_NAMES,
        description="Names of secrets that the environment gets, on top of those that its manifest "
        "declares.",
    )


class TrainTable(_Table):
    """`[train]`: how long, how large, how fast.

    The learning rate falls linearly to zero after 3 % of warm-up. LoRA's alpha is always twice the
    rank.
    """

    epochs: float = Field(
        default=2.0, gt=0, le=1000, description="Passes over the examples, rounded up to a step."
    )
    max_steps: int = Field(
        default=0, ge=0, le=1_000_000, description="Exact number of updates; 0: `epochs` decides."
    )
    max_examples: int = Field(
        default=0,
        ge=0,
        description="Only the first so many examples, in the dataset's order; 0: all.",
    )
    batch_size: int = Field(
        default=32,
        ge=1,
        le=1024,
        validation_alias=AliasChoices("batch_size", "prompts_per_step"),
        description="Rows in an update. `prompts_per_step` is the older spelling.",
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Peak learning rate.")
    lora_rank: int = Field(
        default=32, ge=1, le=512, description="Rank of the adapter, at most the model's."
    )
    max_context_tokens: int = Field(
        default=0,
        ge=0,
        description="Most tokens of a row, prompt and answer together; longer rows are left out. "
        "0: 2048, or the model's context if that is smaller.",
    )
    save_every: int = Field(
        default=50, ge=0, description="Steps between checkpoints; 0: only the last step is saved."
    )
    save_at_steps: Annotated[tuple[int, ...], AfterValidator(_rising)] = Field(
        default=(), description="Save at these steps instead. The last step is always saved."
    )


class TrainSpec(_Table):
    """A run as its author wrote it. `parse_train_spec` reads it, `check_train_spec` judges it."""

    model: str = Field(description="Id of a base model; `freesolo models` lists them.")
    algorithm: Algorithm = Field(default=Algorithm.SFT, description="How to train: `sft`.")
    environment: EnvironmentSpec
    train: TrainTable = TrainTable()
    seed: int = Field(
        default=42, ge=0, le=2**31 - 1, description="Decides the order of rows and all sampling."
    )
    thinking: bool = Field(
        default=False, description="Train the model's thinking mode, if it has one."
    )
    model_revision: str | None = Field(
        default=None, description="Revision of the base model; by default the catalog's."
    )
    project: UUID | None = Field(
        default=None, description="Project the run belongs to; by default the org's `default`."
    )


def parse_document(text: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read a config's TOML and apply `key.path=value` overrides, each value in TOML's syntax.

    A value that is not TOML is taken as a string, so `--set model=org/name` needs no quotes.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidTrainSpec(f"The config is not valid TOML: {error}.") from None
    for override in overrides:
        _apply_override(document, override)
    return document


def parse_train_spec(document: Mapping[str, Any]) -> TrainSpec:
    """Turn a document into a spec. Raise `InvalidTrainSpec` listing every wrong key."""
    try:
        return TrainSpec.model_validate(document)
    except ValidationError as error:
        problems = problems_from_validation(error, TrainSpec)
        first = problems[0]
        raise InvalidTrainSpec(
            f"The config is wrong at `{first.path}`: {first.message}", problems=problems
        ) from None


def check_train_spec(spec: TrainSpec, model: BaseModelEntry) -> None:
    """Check the rules between a spec and its base model; raise `InvalidTrainSpec` with all of them."""
    problems: list[Problem] = []
    if spec.algorithm not in model.algorithms:
        offered = ", ".join(model.algorithms)
        problems.append(Problem("algorithm", f"{model.id} is trained with {offered}.", "model"))
    if spec.thinking and not model.thinking:
        problems.append(Problem("thinking", f"{model.id} has no thinking mode.", "model"))
    if spec.train.lora_rank > model.max_rank:
        problems.append(
            Problem(
                "train.lora_rank",
                f"{spec.train.lora_rank} is above the {model.max_rank} that {model.id} allows.",
                "model",
            )
        )
    if spec.train.max_context_tokens > model.context:
        problems.append(
            Problem(
                "train.max_context_tokens",
                f"{spec.train.max_context_tokens} is above the {model.context} that {model.id} has.",
                "model",
            )
        )
    if spec.model_revision not in (None, model.revision):
        problems.append(
            Problem(
                "model_revision",
                f"{spec.model_revision!r} is not here; the catalog has {model.revision!r}.",
                "model",
            )
        )
    beyond = [step for step in spec.train.save_at_steps if 0 < spec.train.max_steps < step]
    if beyond:
        problems.append(
            Problem(
                "train.save_at_steps",
                f"Step {beyond[0]} lies after the last one, {spec.train.max_steps}.",
                "value",
            )
        )
    if problems:
        first = problems[0]
        raise InvalidTrainSpec(
            f"The config is wrong at `{first.path}`: {first.message}", problems=problems
        )


def total_steps(train: TrainTable, examples: int) -> int:
    """Return how many optimizer updates a run over `examples` rows makes: exactly that many."""
    if train.max_steps:
        return train.max_steps
    return max(1, math.ceil(examples * train.epochs / train.batch_size))


def context_tokens(train: TrainTable, model: BaseModelEntry) -> int:
    """Return the most tokens a training row may have, prompt and answer together."""
    return train.max_context_tokens or min(DEFAULT_CONTEXT_TOKENS, model.context)


def save_due(train: TrainTable, step: int, last_step: int) -> bool:
    """Say whether a checkpoint is taken after `step`, counted from 1."""
    if step == last_step:
        return True
    if train.save_at_steps:
        return step in train.save_at_steps
    return train.save_every > 0 and step % train.save_every == 0


def _apply_override(document: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path.strip():
        raise InvalidTrainSpec(
            f"{override!r} is not an override.",
            hint="Write KEY=VALUE, such as `train.max_steps=20`.",
        )
    *tables, key = path.strip().split(".")
    table: dict[str, Any] = document
    for name in tables:
        nested = table.setdefault(name, {})
        if not isinstance(nested, dict):
            raise InvalidTrainSpec(f"{override!r} goes through `{name}`, which is not a table.")
        table = nested
    try:
        table[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = text
