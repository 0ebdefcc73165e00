"""`freesolo runs`: what was trained, how, and with what result."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.cli.follow import (
    event_line,
    follow,
    run_document,
    show_end,
    show_outcome,
    show_run,
)
from freesolo.cli.lineage import show_attempts, show_lineage
from freesolo.cli.reproduction import compare, show_comparison
from freesolo.cli.run_secrets import find_run_secrets
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import parse_train_spec


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
    "id, state, adapter_revision, attempt, spec, environment (ref, version, tree_digest), metrics (last values), step, total_steps, error, created_at, started_at, ended_at, warm_start, teacher, reproduces, attempts[] (number, started_at, ended_at, outcome, reason), provenance (everything that made it)"
)
@pass_app
def show(app: App, run_id: str) -> None:
    """Show one run, what it came from and how each attempt at it went."""
    run = app.hub.run(run_id)
    app.out.document(run_document(run))
    show_run(app, run)
    show_lineage(app, run)
    show_attempts(app, run)
    if run.reproduces and run.state is RunState.DONE and not app.out.json_mode:
        app.out.data()
        show_comparison(app, compare(app, run.reproduces, run))
    show_end(app, run)


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
@json_option("checkpoints[] (step, digest, revision, attempt, created_at)")
@pass_app
def checkpoints(app: App, run_id: str) -> None:
    """List what a run has saved."""
    found = app.hub.checkpoints(run_id)
    app.out.document({"checkpoints": [item.model_dump(mode="json") for item in found]})
    app.out.table(
        ("step", "digest", "revision", "created"),
        [
            (item.step, item.digest, item.revision, f"{item.created_at:%Y-%m-%d %H:%M:%S}")
            for item in found
        ],
    )
    if found:
        app.out.next_step(f"freesolo deploy {run_id}/step-{found[-1].step} --wait")


@runs.command()
@click.argument("run_id")
@click.option("--background", is_flag=True, help="Submit and leave; `runs show` compares later.")
@json_option(
    "run, comparison (original, identical, steps[] (step, original, reproduced, identical), differences[] (path, original, reproduced)); with --background the comparison is null"
)
@click.pass_context
def reproduce(context: click.Context, run_id: str, *, background: bool) -> None:
    """Make a run again from all that it was bound to, and compare what comes out.

    The environment's exact version, the base model's revision, the config, the seed and the adapter
    it went on from are those of the first run, whatever the config would mean today. Secrets are
    needed again, from the same places as with `freesolo train`. Leaves with 0 if every checkpoint
    and the final adapter are the same to the byte, with 1 if not.
    """
    app: App = context.obj
    original = app.hub.run(run_id)
    pinned = EnvRef.parse(f"{original.environment.ref}@{original.environment.version}")
    secrets = find_run_secrets(app, pinned, parse_train_spec(original.spec))
    run = app.hub.reproduce_run(original.id, secrets.handed)
    app.out.talk(f"{run.id} makes {original.id} again: {pinned} on {run.model}")
    secrets.tell(app)
    followed = app.hub.run(run.id) if background else follow(app, run.id)
    if followed.state not in RUN_ENDED:
        app.out.document({"run": run_document(followed), "comparison": None})
        app.out.next_step(f"freesolo runs show {run.id}")
        return
    found = compare(app, original.id, followed)
    app.out.document({"run": run_document(followed), "comparison": found.document()})
    show_comparison(app, found)
    if followed.state is not RunState.DONE:
        show_outcome(app, followed)
    if followed.state is not RunState.DONE or not found.identical:
        context.exit(1)
