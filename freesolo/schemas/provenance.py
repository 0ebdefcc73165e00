"""What made an adapter, as the adapter itself carries it."""

from pydantic import Field, JsonValue

from freesolo.domain.catalog import Algorithm
from freesolo.schemas.adapters import AdapterLineage
from freesolo.schemas.base import Wire
from freesolo.schemas.environments import EnvironmentPin


class EnvironmentOrigin(EnvironmentPin):
    """An environment, with every environment that it builds on, and what its code ran with.

    `python` and `packages` are those of its own virtual environment; None where nobody told.
    """

    builds_on: tuple[EnvironmentPin, ...] = ()
    python: str | None = None
    packages: dict[str, str] | None = Field(
        default=None, description="Every package of the environment's own, with its version."
    )


class BaseModelOrigin(Wire):
    """A base model; `source` is the kind of place that its weights came from."""

    id: str
    revision: str
    source: str


class TeacherOrigin(Wire):
    """Who taught: a base model, with an adapter or without, or an endpoint elsewhere."""

    base_model: BaseModelOrigin | None = None
    adapter: AdapterLineage | None = None
    endpoint: str | None = None


class TrainingDevice(Wire):
    """What the sums were made on: they come out alike only on the like."""

    kind: str = Field(description="`cpu`, or the accelerator's name.")
    instructions: str | None = Field(default=None, description="Of a CPU, such as `AVX512`.")
    threads: int


class Provenance(Wire):
    """Everything that made an adapter. The same inputs give the same: no run, no time, no machine."""

    algorithm: Algorithm
    base_model: BaseModelOrigin
    environment: EnvironmentOrigin
    spec: dict[str, JsonValue] = Field(description="The config, whole, with all defaults.")
    seed: int
    warm_start: AdapterLineage | None = None
    teacher: TeacherOrigin | None = None
    sampler: str | None = Field(
        default=None,
        description="What sampled rollouts, if any were: `in-process`, `vllm`, or `vllm-server` for "
        "one that ran already.",
    )
    device: TrainingDevice
    python: str
    packages: dict[str, str] = Field(
        description="Of the training process: what computes, and what samples if anything does."
    )
