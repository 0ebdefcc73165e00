"""Where a run came from, and how it went, in a few lines."""

from freesolo.cli.context import App
from freesolo.schemas.adapters import AdapterPin
from freesolo.schemas.runs import RunDetail, TeacherPin

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


def show_attempts(app: App, run: RunDetail) -> None:
    """Print when each attempt at a run began, and how it ended."""
    if not run.attempts:
        return
    app.out.data()
    app.out.table(
        ("attempt", "began", "ended", "left the run", "because"),
        [
            (
                attempt.number,
                f"{attempt.started_at:%Y-%m-%d %H:%M:%S}",
                f"{attempt.ended_at:%H:%M:%S}" if attempt.ended_at else "",
                attempt.outcome or "at work",
                attempt.reason,
            )
            for attempt in run.attempts
        ],
    )
