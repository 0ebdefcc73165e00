"""What a run will take, from what the hub knows: the dataset, and runs of the org that ended."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from math import prod

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain import estimates
from freesolo.domain.catalog import Algorithm, BaseModelEntry
from freesolo.domain.devices import Device, answers_to, named_device
from freesolo.domain.estimates import Estimate, Rows
from freesolo.domain.lifecycle import RunState
from freesolo.domain.memory import RowLengths
from freesolo.domain.throughput import RunSpeed, anchored, measured, speed_of
from freesolo.domain.train_spec import TrainSpec
from freesolo.domain.turns import MULTI_TURN
from freesolo.package.token_lengths import tokens_of_characters
from freesolo.schemas.checks import CheckedLengths, CheckReport
from freesolo.schemas.contents import Column, DatasetReport, Lengths, Split
from freesolo.schemas.runs import EventKind
from hub_server.accounts.service import Member
from hub_server.models import EnvironmentVersion, Run, RunEvent, VersionContents
from hub_server.runs.history import numbers

# Where no run has told on what it was trained.
_DEFAULT_DEVICE = "cpu-2"
_RECENT_RUNS = 50
# So many runs, and of each so many of its last steps, are enough to know a device by.
_RUNS = 5
_STEPS = 20


def estimate(
    session: Session,
    member: Member,
    spec: TrainSpec,
    model: BaseModelEntry,
    version: EnvironmentVersion,
) -> Estimate:
    """Estimate a run on the device that the org's runs of that kind were last trained on."""
    rows = _rows(session, version, spec)
    device = _devices(session, member, spec.gpu.type)[0]
    runs = _finished(session, member, spec.algorithm, model, device)
    pace = measured([_speed(session, run) for run in runs]) or anchored(device, model)
    return estimates.estimate(spec, model, rows, device, pace)


def refuse_misfit(
    session: Session,
    member: Member,
    spec: TrainSpec,
    model: BaseModelEntry,
    version: EnvironmentVersion,
) -> None:
    """Raise `InvalidTrainSpec` if no device of the class that a run asks for has enough memory.

    A run that asks for none goes to whoever is free, and may find more memory than the hub knows of:
    its job sees to that.
    """
    if spec.gpu.type is None:
        return
    devices = _devices(session, member, spec.gpu.type)
    largest = max(devices, key=lambda device: device.memory or 0)
    rows = _rows(session, version, spec)
    estimates.refuse_misfit(spec, model, rows.least, largest)


def _devices(session: Session, member: Member, wanted: str | None) -> Sequence[Device]:
    """Return the devices that the org's runs were trained on, the last one first; never none."""
    recent = session.scalars(
        select(Run.device)
        .where(Run.org_id == member.org_id, Run.device.is_not(None))
        .order_by(Run.created_at.desc())
        .limit(_RECENT_RUNS)
    ).all()
    met = dict.fromkeys(Device(on.name, on.memory) for on in recent if on is not None)
    asked_for = [device for device in met if answers_to(device.name, wanted)]
    return asked_for or [named_device(wanted or _DEFAULT_DEVICE)]


def _finished(
    session: Session,
    member: Member,
    algorithm: Algorithm,
    model: BaseModelEntry,
    device: Device,
) -> Sequence[Run]:
    """Return the newest runs of the org that ended well, on this model and device, by this algorithm.

    Another org's runs are none of its business, not even as a figure.
    """
    recent = session.scalars(
        select(Run)
        .where(
            Run.org_id == member.org_id,
            Run.state == RunState.DONE,
            Run.model_id == model.id,
            Run.device.is_not(None),
        )
        .order_by(Run.created_at.desc())
        .limit(_RECENT_RUNS)
    ).all()
    alike = [
        run
        for run in recent
        if run.spec.get("algorithm") == algorithm and run.device and run.device.name == device.name
    ]
    return alike[:_RUNS]


def _speed(session: Session, run: Run) -> RunSpeed:
    steps = session.scalars(
        select(RunEvent)
        .where(RunEvent.run_id == run.id, RunEvent.kind == EventKind.METRICS)
        .order_by(RunEvent.seq.desc())
        .limit(_STEPS)
    ).all()
    reported = [numbers(step.data) for step in steps]
    return speed_of(reported, rollouts=_rollouts(run), start_up=_start_up(session, run))


def _rollouts(run: Run) -> int:
    """Return how many rollouts a step of a run played; 0 for an algorithm that samples none."""
    table = run.spec.get("train")
    sizes = (table.get("batch_size"), table.get("group_size")) if isinstance(table, dict) else ()
    return prod(size if isinstance(size, int) else 0 for size in sizes) if sizes else 0


def _start_up(session: Session, run: Run) -> float | None:
    """Return the seconds from the claim of a run's first attempt to its first step."""
    changes = session.scalars(
        select(RunEvent).where(
            RunEvent.run_id == run.id, RunEvent.kind == EventKind.STATE, RunEvent.attempt == 1
        )
    ).all()
    at: dict[object, datetime] = {change.data.get("state"): change.created_at for change in changes}
    began, trained = at.get(RunState.STARTING.value), at.get(RunState.RUNNING.value)
    return (trained - began).total_seconds() if began and trained else None


def _rows(session: Session, version: EnvironmentVersion, spec: TrainSpec) -> Rows:
    contents = session.get_one(VersionContents, version.id)
    report = DatasetReport.model_validate(contents.dataset)
    turns = estimates.ASSUMED_TURNS if contents.turn_type == MULTI_TURN else 1
    rows = rows_of(report, spec, turns=turns)
    checks = CheckReport.model_validate(contents.checks) if contents.checks else None
    counted = [one for one in checks.lengths if one.model == spec.model] if checks else []
    return as_counted(rows, counted[0]) if counted else rows


def rows_of(report: DatasetReport, spec: TrainSpec, *, turns: int) -> Rows:
    """Say what the dataset's files tell of the examples of a run: counts, and lengths in characters."""
    assumed = estimates.ASSUMED_LENGTHS
    split = _split(report, spec)
    if split is None:
        said = (
            f"The version holds no rows that the hub can read: {estimates.ASSUMED_EXAMPLES} with "
            f"{assumed.prompt} tokens of prompt were assumed."
        )
        return Rows(
            estimates.ASSUMED_EXAMPLES,
            replace(assumed, turns=turns),
            known=False,
            assumptions=(said,),
        )
    prompt, answer = _column(split, "input"), _column(split, "output")
    lengths = RowLengths(
        prompt=tokens_of_characters(prompt.median) if prompt else assumed.prompt,
        answer=tokens_of_characters(answer.median) if answer else assumed.answer,
        longest_prompt=tokens_of_characters(prompt.max) if prompt else assumed.longest_prompt,
        longest_answer=tokens_of_characters(answer.max) if answer else assumed.longest_answer,
        turns=turns,
    )
    said = _told(split, prompt)
    if not split.complete:
        said += f" It has more rows than the {split.rows} that were read."
    return Rows(max(1, split.rows), lengths, known=prompt is not None, assumptions=(said,))


def as_counted(rows: Rows, counted: CheckedLengths) -> Rows:
    """Put what the publisher's `validate` counted, prompts as the environment makes them, over `rows`.

    It counted prompt and gold answer together; the answer's part is what the files tell.
    """
    answer = min(rows.lengths.answer, max(0, counted.median - 1))
    longest_answer = min(rows.lengths.longest_answer, max(0, counted.longest - 1))
    lengths = RowLengths(
        prompt=max(1, counted.median - answer),
        answer=answer,
        longest_prompt=max(1, counted.longest - longest_answer),
        longest_answer=longest_answer,
        turns=rows.lengths.turns,
    )
    how = "counted by" if counted.exact else "estimated from characters by"
    said = (
        f"The tokens of {counted.rows} rows were {how} `validate` when the version was published."
    )
    return Rows(rows.count, lengths, known=True, assumptions=(said,))


def _split(report: DatasetReport, spec: TrainSpec) -> Split | None:
    """Return the file that a run is over: as its parameters say, else `train`, else the largest."""
    by_name = {split.name: split for split in report.splits if split.rows}
    for name in (spec.environment.params.get("split"), "train"):
        if isinstance(name, str) and name in by_name:
            return by_name[name]
    return max(by_name.values(), key=lambda split: split.rows, default=None)


def _column(split: Split, name: str) -> Lengths | None:
    found: Column | None = next((one for one in split.columns if one.name == name), None)
    return found.lengths if found else None


def _told(split: Split, prompt: Lengths | None) -> str:
    if prompt is None:
        return (
            f"{split.path} has no column `input`: prompts of "
            f"{estimates.ASSUMED_LENGTHS.prompt} tokens were assumed."
        )
    return (
        f"Tokens were estimated from the characters of {split.path}, without what the environment "
        "adds to them."
    )
