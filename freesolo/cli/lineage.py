"""Where a run came from, and how it went, in a few lines."""

from collections.abc import Mapping

from freesolo.cli.context import App
from freesolo.schemas.adapters import AdapterPin
from freesolo.schemas.runs import Attempt, RunDetail, TeacherPin

# Of a digest: enough to tell two apart.
_SHOWN = len("sha256:") + 12


def adapter_line(adapter: AdapterPin) -> str:
    """Write an adapter on one line."""
    return f"{adapter.run_id}/step-{adapter.step} {adapter.tree_digest[:_SHOWN]}"


def teacher_line(teacher: TeacherPin) -> str:
    """Write who teaches on one line."""
    model = f"{teacher.model} ({teacher.model_revision})"
    return f"{adapter_line(teacher.adapter)} on {model}" if teacher.adapter else model


def show_lineage(app: App, run: RunDetail) -> None:
    """Print what a run builds on, the newest first, down to the base model."""
    environment = f"{run.environment.ref} {run.environment.version}"
    lines = [f"{run.id} (this run)  {run.spec.get('algorithm')} on {environment}"]
    if run.warm_start is not None:
        lines += [
            f"{adapter_line(each)}  {each.algorithm} on "
            f"{each.environment.ref} {each.environment.version}"
            for each in (run.warm_start, *run.warm_start.ancestors)
        ]
    app.out.data("\nlineage")
    for line in lines:
        app.out.data(f"  * {line}")
    app.out.data(f"  o {run.model} {run.model_revision}")


def show_origin(app: App, run: RunDetail) -> None:
    """Print on what a run was trained and with which packages, once that is known."""
    made_by = run.provenance
    if made_by is None:
        return
    device = made_by.device
    threads = f"{device.threads} thread{'' if device.threads == 1 else 's'}"
    fields = {
        "on": ", ".join(filter(None, (device.kind, device.instructions, threads))),
        "trainer": _packages(made_by.python, made_by.packages),
    }
    if made_by.sampler:
        fields["sampler"] = made_by.sampler
    if made_by.environment.packages is not None:
        fields["environment"] = _packages(made_by.environment.python, made_by.environment.packages)
    app.out.data("\nmade with")
    app.out.fields({f"  {name}": value for name, value in fields.items()})


def _packages(python: str | None, packages: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {version}" for name, version in {"python": python, **packages}.items()
    )


def show_attempts(app: App, run: RunDetail) -> None:
    """Print who made each attempt at a run, when, from which step to which, and how it ended."""
    if not run.attempts:
        return
    app.out.data()
    app.out.table(
        ("attempt", "worker", "began", "ended", "steps", "outcome", "because"),
        [
            (
                made.attempt,
                made.worker,
                f"{made.started_at:%Y-%m-%d %H:%M:%S}",
                f"{made.ended_at:%H:%M:%S}" if made.ended_at else "",
                _steps(made),
                made.outcome or "at work",
                f"{made.error.message} ({made.error.code})" if made.error else "",
            )
            for made in run.attempts
        ],
    )


def _steps(made: Attempt) -> str:
    last = made.first_step if made.last_step is None else made.last_step
    return f"{made.first_step} to {last}"
