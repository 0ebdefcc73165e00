"""What makes an adapter: everything that the hub pinned, and what this process adds to it."""

import json
import platform
from importlib.metadata import version

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.teachers import TeacherEndpoint
from freesolo.domain.train_spec import OpdSpec
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

# Those whose code the numbers go through.
_PACKAGES = (
    *("accelerate", "freesolo", "numpy", "peft", "safetensors", "tokenizers", "torch"),
    "transformers",
)


def provenance(lease: Lease, device: TrainingDevice, *, sampler: str | None = None) -> Provenance:
    """Say what makes the adapters of a run. The same inputs give the same answer."""
    return Provenance(
        algorithm=lease.spec.algorithm,
        base_model=_base_model(lease.model),
        environment=EnvironmentOrigin(
            **dict(_environment(lease.environment)),
            builds_on=tuple(_environment(each) for each in lease.environment.builds_on),
        ),
        # Where its metrics went did not make it.
        spec=lease.spec.model_dump(mode="json", exclude={"wandb", "trackio"}),
        seed=lease.spec.seed,
        warm_start=_lineage(lease.warm_start),
        teacher=_teacher(lease),
        sampler=sampler,
        device=device,
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
    )


def as_text(made_by: Provenance) -> str:
    """Write it as an adapter carries it."""
    return json.dumps(made_by.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


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
