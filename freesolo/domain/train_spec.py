"""The one-page TOML that describes a run, and the rules that hold between its keys."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationError

from freesolo.domain.catalog import Algorithm, BaseModelEntry
from freesolo.domain.deadlines import (
    DEFAULT_CALL_SECONDS,
    MAX_CALL_SECONDS,
    MIN_CALL_SECONDS,
)
from freesolo.domain.fields import EnvRefText, RequirementText
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.secrets import MAX_NAMES, TEACHER_API_KEY, WANDB_API_KEY, SecretName
from freesolo.domain.suggest import did_you_mean
from freesolo.domain.teachers import TeacherEndpoint
from freesolo.domain.train_tables import (
    GrpoTable,
    OpdTable,
    RolloutTable,
    SftTable,
    Table,
    TrainTable,
)
from freesolo.domain.worker_env import as_text, check_worker_env
from freesolo.errors import InvalidTrainSpec, Problem

DEFAULT_CONTEXT_TOKENS = 2048
# Of one answer, without thinking and with it.
_GRPO_COMPLETION = (320, 1536)
_OPD_COMPLETION = (512, 1536)


class EnvironmentSpec(Table):
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
    timeout_seconds: float = Field(
        default=DEFAULT_CALL_SECONDS,
        ge=MIN_CALL_SECONDS,
        le=MAX_CALL_SECONDS,
        description="Seconds that the environment may take for one call, such as to score an answer. "
        "What takes longer is ended, and its answer is unscorable.",
    )


def _one_device(count: int) -> int:
    if count > 1:
        raise ValueError(
            f"a run is trained on one device, so {count} would be reserved and not used; leave "
            "`count` out, and start several runs to use several devices"
        )
    return count


class GpuSpec(Table):
    """`[gpu]`: what the run needs to be trained on."""

    type: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Device class that the run waits for, such as `H200` or `cpu`; by default any.",
    )
    count: Annotated[int, AfterValidator(_one_device)] = Field(
        default=1, ge=1, description="How many of them: 1, since a run is trained on one device."
    )


class TrackerSpec(Table):
    """Where else the metrics of a run go."""

    project: str = Field(min_length=1, max_length=100, description="Project to add the run to.")
    run_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="What the run is called there; by default its id.",
    )


class WandbSpec(TrackerSpec):
    """`[wandb]`: Weights & Biases. Its key is the secret `WANDB_API_KEY`."""


class TrackioSpec(TrackerSpec):
    """`[trackio]`: trackio, kept on the worker's machine."""


class RunSpec(Table):
    """What every config says, whatever its algorithm."""

    model: str = Field(description="Id of a base model; `freesolo models` lists them.")
    algorithm: Algorithm
    environment: EnvironmentSpec
    train: TrainTable
    gpu: GpuSpec = GpuSpec()
    worker_env: Annotated[
        dict[str, str], BeforeValidator(as_text), AfterValidator(check_worker_env)
    ] = Field(
        default_factory=dict,
        description="Environment variables of the training process; "
        "[which](../guides/training.md#variables-of-the-training-process).",
    )
    wandb: WandbSpec | None = None
    trackio: TrackioSpec | None = None
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


class SftSpec(RunSpec):
    """A run that imitates gold answers."""

    algorithm: Literal[Algorithm.SFT] = Field(
        default=Algorithm.SFT, description="How to train: `sft`, `grpo` or `opd`."
    )
    train: SftTable = SftTable()


class GrpoSpec(RunSpec):
    """A run that practises: rollouts are scored, and those above their group's mean reinforced."""

    algorithm: Literal[Algorithm.GRPO]
    train: GrpoTable = GrpoTable()


class OpdSpec(RunSpec):
    """A run that practises under a teacher, who judges every token."""

    algorithm: Literal[Algorithm.OPD]
    train: OpdTable


# A run as its author wrote it. `parse_train_spec` reads it, `check_train_spec` judges it.
TrainSpec = Annotated[SftSpec | GrpoSpec | OpdSpec, Field(discriminator="algorithm")]

SPECS: Mapping[Algorithm, type[SftSpec] | type[GrpoSpec] | type[OpdSpec]] = MappingProxyType(
    {Algorithm.SFT: SftSpec, Algorithm.GRPO: GrpoSpec, Algorithm.OPD: OpdSpec}
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
    named = document.get("algorithm", Algorithm.SFT)
    if named not in list(Algorithm):
        nearest = did_you_mean(str(named), list(Algorithm)) or f"It is {', '.join(Algorithm)}."
        problem = Problem("algorithm", f"{named!r} is no algorithm. {nearest}", "value")
        raise InvalidTrainSpec(
            f"The config is wrong at `algorithm`: {problem.message}", problems=[problem]
        )
    kind = SPECS[Algorithm(named)]
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = problems_from_validation(error, kind)
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
    if spec.train.lora_rank is not None and spec.train.lora_rank > model.max_rank:
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
    longest = _most_steps(spec.train)
    if longest is not None:
        problems += _unreachable(spec.train, longest)
    if isinstance(spec, GrpoSpec | OpdSpec):
        problems += _rollout_problems(spec, model)
    if problems:
        first = problems[0]
        raise InvalidTrainSpec(
            f"The config is wrong at `{first.path}`: {first.message}", problems=problems
        )


def planned_steps(train: TrainTable, examples: int) -> int:
    """Return `total_steps` of a run over `examples` rows, which are all it has.

    Raise `InvalidTrainSpec` where a checkpoint is to be taken after the last of them: it would never be.
    """
    steps = total_steps(train, examples)
    for problem in _unreachable(train, steps):
        raise InvalidTrainSpec(
            f"The config is wrong at `{problem.path}`: {problem.message}",
            hint=f"{examples} rows in steps of {train.batch_size} make so many. Raise `train.epochs`, "
            "set `train.max_steps`, or leave that step out.",
            problems=[problem],
        )
    return steps


def _most_steps(train: TrainTable) -> int | None:
    """Return the most steps that a run makes, whatever rows there are; None if that is not known."""
    if train.max_steps or train.max_examples:
        return total_steps(train, train.max_examples)
    return None


def save_beyond(train: TrainTable, steps: int) -> int | None:
    """Return the first step at which a run of so many `steps` is to save and never will, if any."""
    return next((step for step in train.save_at_steps if step > steps), None)


def _unreachable(train: TrainTable, steps: int) -> list[Problem]:
    beyond = save_beyond(train, steps)
    if beyond is None:
        return []
    message = f"Step {beyond} lies after the last one, {steps}."
    return [Problem("train.save_at_steps", message, "value")]


def _rollout_problems(spec: GrpoSpec | OpdSpec, model: BaseModelEntry) -> list[Problem]:
    problems = []
    room, wanted = context_tokens(spec.train, model), completion_tokens(spec)
    if wanted >= room:
        message = f"An answer of {wanted} tokens leaves no room for a prompt in {room} tokens."
        problems.append(Problem("train.max_completion_tokens", message, "value"))
    if isinstance(spec, GrpoSpec) and spec.train.thinking_length_penalty_coef and not spec.thinking:
        message = "Without `thinking = true` there is no thinking to shorten."
        problems.append(Problem("train.thinking_length_penalty_coef", message, "value"))
    return problems


def job_secrets(spec: TrainSpec) -> tuple[str, ...]:
    """Return the names of the secrets that the training process itself uses. No environment gets one.

    All but those of `needed_job_secrets` it uses only if they are given.
    """
    taught_elsewhere = isinstance(spec, OpdSpec) and isinstance(spec.train.teacher, TeacherEndpoint)
    return (*((TEACHER_API_KEY,) if taught_elsewhere else ()), *needed_job_secrets(spec))


def needed_job_secrets(spec: TrainSpec) -> tuple[str, ...]:
    """Return the names of the secrets without which the training process cannot do its work."""
    return (WANDB_API_KEY,) if spec.wandb is not None else ()


def total_steps(train: TrainTable, examples: int) -> int:
    """Return how many optimizer updates a run over `examples` rows makes: exactly that many."""
    if train.max_steps:
        return train.max_steps
    return max(1, math.ceil(examples * train.epochs / train.batch_size))


def context_tokens(train: TrainTable, model: BaseModelEntry) -> int:
    """Return the most tokens a training row may have, prompt and answer together."""
    return train.max_context_tokens or min(DEFAULT_CONTEXT_TOKENS, model.context)


def completion_tokens(spec: GrpoSpec | OpdSpec) -> int:
    """Return the most tokens that the model may say in one turn."""
    defaults = _GRPO_COMPLETION if isinstance(spec, GrpoSpec) else _OPD_COMPLETION
    return spec.train.max_completion_tokens or defaults[spec.thinking]


def rollouts_per_step(train: RolloutTable) -> int:
    """Return how many episodes a step plays."""
    return train.batch_size * train.group_size


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
