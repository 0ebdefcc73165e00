"""The adapters of runs, as others name them: to deploy one, to go on from it, to learn from it."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.catalog import Algorithm, BaseModelEntry, Catalog
from freesolo.domain.refs import AdapterRef, adapter_revision
from freesolo.errors import AdapterNotFound, InvalidAdapter
from freesolo.schemas.adapters import PinnedAdapter, SavedAdapter
from freesolo.schemas.base import Artifact
from freesolo.schemas.environments import EnvironmentPin
from hub_server.models import Checkpoint, Run

_MAX_LISTED = 20


@dataclass(frozen=True)
class Adapter:
    """One adapter of a run, under its immutable name."""

    run: Run
    step: int
    revision: str
    saved: Artifact


def of_run(session: Session, run: Run, ref: AdapterRef) -> Adapter:
    """Return the adapter of `run` that a reference means; raise `AdapterNotFound` if there is none."""
    step = run.final_step if ref.step is None else ref.step
    if step is None:
        raise AdapterNotFound(
            f"{run.id} is {run.state.value} and has no final adapter.",
            hint=_what_is_saved(session, run),
        )
    checkpoint = session.get(Checkpoint, (run.id, step))
    if checkpoint is None:
        raise AdapterNotFound(
            f"{run.id} has saved nothing after step {step}.", hint=_what_is_saved(session, run)
        )
    require_kept(checkpoint)
    revision = adapter_revision(run.id, ref.step, checkpoint.adapter.tree_digest)
    if ref.revision not in (None, revision):
        raise AdapterNotFound(f"{run.id} has no revision {ref.revision!r}; it has {revision!r}.")
    return Adapter(run, step, revision, checkpoint.adapter)


def require_kept(checkpoint: Checkpoint) -> None:
    """Raise `AdapterNotFound` if only the adapter's description is left."""
    if not checkpoint.adapter_kept:
        raise AdapterNotFound(
            f"The adapter that {checkpoint.run_id} saved after step {checkpoint.step} was dropped: "
            "this hub keeps only the newest ones of a run.",
            hint=f"`freesolo runs checkpoints {checkpoint.run_id}` shows what is kept.",
        )


def pin(adapter: Adapter) -> PinnedAdapter:
    """Bind whatever builds on an adapter to just this one, and to all that it came from."""
    run = adapter.run
    parent = run.warm_start
    return PinnedAdapter(
        run_id=run.id,
        step=adapter.step,
        tree_digest=adapter.saved.tree_digest,
        algorithm=Algorithm(str(run.spec["algorithm"])),
        environment=EnvironmentPin.model_validate(run.environment, from_attributes=True),
        ancestors=(parent, *parent.ancestors) if parent else (),
        archive_digest=adapter.saved.archive_digest,
        size=adapter.saved.size,
        rank=_rank(run),
    )


def saved_view(adapter: Adapter, catalog: Catalog) -> SavedAdapter:
    """Return an adapter as it goes over the wire to whoever takes it elsewhere."""
    run = adapter.run
    entry = catalog.get(run.model_id)
    same = entry is not None and entry.revision == run.model_revision
    return SavedAdapter(
        **dict(pin(adapter)),
        revision=adapter.revision,
        model=run.model_id,
        model_revision=run.model_revision,
        base_model=entry if same else None,
    )


def require_fit(adapter: Adapter, model: BaseModelEntry) -> None:
    """Raise `InvalidAdapter` unless an adapter was made on `model`, and is one it can be trained with."""
    run = adapter.run
    if (run.model_id, run.model_revision) != (model.id, model.revision):
        raise InvalidAdapter(
            f"{run.id} was trained on {run.model_id} {run.model_revision}, "
            f"not on {model.id} {model.revision}.",
            hint=f'Write `model = "{run.model_id}"`, or choose an adapter of {model.id}.'
            if run.model_id != model.id
            else "Choose an adapter of that revision, or bring the old one back into the catalog.",
        )
    if (rank := _rank(run)) > model.max_rank:
        raise InvalidAdapter(
            f"{run.id} has rank {rank}, above the {model.max_rank} that {model.id} allows.",
            hint="Choose an adapter of a lower rank.",
        )


def _rank(run: Run) -> int:
    if run.warm_start is not None:
        return run.warm_start.rank
    match run.spec:
        case {"train": {"lora_rank": int(rank)}}:
            return rank
    raise InvalidAdapter(f"The config of {run.id} does not tell its adapter's rank.")


def _what_is_saved(session: Session, run: Run) -> str:
    saved = select(Checkpoint.step).where(Checkpoint.run_id == run.id).order_by(Checkpoint.step)
    steps = session.scalars(saved).all()
    if not steps:
        return "It has saved nothing yet."
    newest = ", ".join(str(step) for step in steps[-_MAX_LISTED:])
    listed = newest if len(steps) <= _MAX_LISTED else f"..., {newest}"
    return f"It has saved after step {listed}; write `{run.id}/step-{steps[-1]}`, for one."
