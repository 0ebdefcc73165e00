"""`freesolo runs`: what was trained, how, and with what result."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.cli.follow import event_line, follow, run_document, show_outcome
from freesolo.schemas.runs import Attempt, Checkpoint


@click.group()
def runs() -> None:
    """List, show, follow and stop runs."""


@runs.command(name="list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option("runs[], each as in `runs show`")
@pass_app
def list_runs(app: App, *, limit: int) -> None:
    """List the newest runs."""
    found = app.hub.runs(limit=limit)
    app.out.document({"runs": [run_document(run) for run in found]})
    app.out.table(
        ("run", "state", "step", "environment", "model", "created"),
        [
            (
                run.id,
                run.state,
                f"{run.step}/{run.total_steps or '?'}",
                f"{run.environment.ref} {run.environment.version}",
                run.model,
                f"{run.created_at:%Y-%m-%d %H:%M}",
            )
            for run in found
        ],
    )


@runs.command()
@click.argument("run_id")
@json_option(
    "id, state, adapter_revision, attempt, spec, environment (ref, version, tree_digest), metrics (last values), step, total_steps, phase, waits_because, error, created_at, started_at, ended_at, attempts[] (attempt, worker, started_at, ended_at, first_step, last_step, outcome, error)"
)
@pass_app
def show(app: App, run_id: str) -> None:
    """Show one run, and how its attempts ended."""
    run, attempts = app.hub.run(run_id), app.hub.attempts(run_id)
    app.out.document(
        {**run_document(run), "attempts": [made.model_dump(mode="json") for made in attempts]}
    )
    if len(attempts) > 1:
        app.out.table(
            ("attempt", "worker", "steps", "outcome", "because"),
            [
                (made.attempt, made.worker, _steps(made), made.outcome or "goes on", _reason(made))
                for made in attempts
            ],
        )
        app.out.data()
    show_outcome(app, run)


@runs.command()
@click.argument("run_id")
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Stay until the run ends.")
@json_option("events[] (seq, kind, step, data, attempt, created_at); with --follow the run")
@pass_app
def logs(app: App, run_id: str, *, keep_following: bool) -> None:
    """Print what a run has said so far."""
    if keep_following:
        run = follow(app, run_id)
        app.out.document(run_document(run))
        show_outcome(app, run)
        return
    events = []
    after = 0
    while page := app.hub.run_events(run_id, after=after).events:
        events += page
        after = page[-1].seq
    app.out.document({"events": [event.model_dump(mode="json") for event in events]})
    for event in events:
        app.out.data(f"{event.created_at:%H:%M:%S} {event_line(event)}")


@runs.command()
@click.argument("run_id")
@json_option("the run, as in `runs show`")
@pass_app
def cancel(app: App, run_id: str) -> None:
    """Stop a run; what it saved stays."""
    run = app.hub.cancel_run(run_id)
    app.out.document(run_document(run))
    app.out.data(f"{run.id} is {run.state}." if run.ended_at else f"{run.id} is being stopped.")
    app.out.next_step(f"freesolo runs checkpoints {run.id}")


@runs.command()
@click.argument("run_id")
@json_option(
    "checkpoints[] (step, digest, revision, attempt, created_at, adapter_kept, state_kept)"
)
@pass_app
def checkpoints(app: App, run_id: str) -> None:
    """List what a run has saved."""
    found = app.hub.checkpoints(run_id)
    app.out.document({"checkpoints": [item.model_dump(mode="json") for item in found]})
    app.out.table(
        ("step", "digest", "revision", "kept", "created"),
        [
            (
                item.step,
                item.digest,
                item.revision,
                _kept(item),
                f"{item.created_at:%Y-%m-%d %H:%M:%S}",
            )
            for item in found
        ],
    )
    if found:
        app.out.next_step(f"freesolo deploy {run_id}/step-{found[-1].step} --wait")


def _steps(made: Attempt) -> str:
    last = made.first_step if made.last_step is None else made.last_step
    return f"{made.first_step} to {last}"


def _reason(made: Attempt) -> str:
    return f"{made.error.message} ({made.error.code})" if made.error else ""


def _kept(item: Checkpoint) -> str:
    """Say what is left of a checkpoint: to deploy it, and to go on from it."""
    parts = [("adapter", item.adapter_kept), ("state", item.state_kept)]
    return ", ".join(name for name, kept in parts if kept) or "nothing"
