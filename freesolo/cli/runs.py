"""`freesolo runs`: what was trained, how, and with what result."""

import csv
import io
from collections.abc import Mapping, Sequence

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.cli.follow import (
    MAIN_METRICS,
    event_line,
    follow,
    hints_on,
    measured,
    run_document,
    show_end,
    show_outcome,
    show_run,
    watch,
)
from freesolo.cli.lineage import show_attempts, show_lineage, show_origin
from freesolo.cli.reproduction import compare, show_comparison
from freesolo.cli.run_secrets import find_run_secrets
from freesolo.cli.run_view import sample_title
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import parse_train_spec
from freesolo.schemas.runs import Checkpoint, RunSample, SampleMessage


@click.group()
def runs() -> None:
    """List, show, watch and stop runs."""


@runs.command(name="list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option("runs[], each as in `runs show`, but for the hints")
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
    "id, state, adapter_revision, attempt, spec, environment (ref, version, tree_digest), metrics (last values), step, total_steps, phase, waits_because, error, hints[] (code, mood, message), created_at, started_at, ended_at, warm_start, teacher, reproduces, attempts[] (attempt, worker, started_at, ended_at, first_step, last_step, outcome, error), provenance (everything that made it)"
)
@pass_app
def show(app: App, run_id: str) -> None:
    """Show one run, what it came from and how each attempt at it went."""
    run = app.hub.run(run_id)
    hints = hints_on(app, run)
    app.out.document(run_document(run, hints))
    show_run(app, run, hints)
    show_lineage(app, run)
    show_origin(app, run)
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
        show_outcome(app, follow(app, run_id))
        return
    events = []
    after = 0
    while page := app.hub.run_events(run_id, after=after).events:
        events += page
        after = page[-1].seq
    app.out.document({"events": [event.model_dump(mode="json") for event in events]})
    for event in events:
        app.out.data(f"{event.created_at:%H:%M:%S} {event_line(event)}")


@runs.command(name="watch")
@click.argument("run_id")
@json_option("the run, as in `runs show`, once it has ended")
@click.pass_context
def watch_run(context: click.Context, run_id: str) -> None:
    """Watch a run learn: progress, reward and loss, a sample, and what the metrics mean.

    Ctrl-C stops watching, never the run. Without a terminal each event is a line. A run that ended
    `failed` or `cancelled` gives the exit code 1.
    """
    app: App = context.obj
    run = watch(app, run_id)
    show_outcome(app, run)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        context.exit(1)


@runs.command()
@click.argument("run_id")
@click.option("--csv", "as_csv", is_flag=True, help="Print every metric, as CSV with a head line.")
@json_option("steps[] (step, and every metric by name)")
@pass_app
def metrics(app: App, run_id: str, *, as_csv: bool) -> None:
    """Print what was measured in each step: the main metrics, or with --csv or --json all."""
    steps = [measured(step) for step in app.hub.run_metrics(run_id)]
    app.out.document({"steps": [{**step, "step": int(step["step"])} for step in steps]})
    if not steps and not app.out.json_mode:
        app.out.talk(f"{run_id} has measured nothing yet.")
    elif as_csv:
        app.out.data(_csv(steps), end="")
    else:
        names = ["step", *(name for name in MAIN_METRICS if any(name in step for step in steps))]
        app.out.table(
            [MAIN_METRICS.get(name, name) for name in names],
            [[_number(step.get(name)) for name in names] for step in steps],
        )


@runs.command()
@click.argument("run_id")
@click.option("--step", type=click.IntRange(min=1), help="Of this step; by default of the newest.")
@click.option("--all", "of_all", is_flag=True, help="Of every step, the newest first.")
@json_option(
    "samples[] (step, example, rollout, messages, completion, reward, advantage, finish, tokens, error, metrics, attempt, created_at)"
)
@pass_app
def samples(app: App, run_id: str, *, step: int | None, of_all: bool) -> None:
    """Print what the model was asked, said and got: the best of a step, its worst, then the rest.

    Of a step at most 16 rollouts are kept, from its worst to its best.
    """
    if of_all and step is not None:
        raise click.UsageError("--step and --all exclude each other.")
    if step is None and not of_all:
        newest = app.hub.newest_sample(run_id)
        step = None if newest is None else newest.step
    nothing = step is None and not of_all
    found = [] if nothing else list(app.hub.run_samples(run_id, step=step))
    if not of_all:
        found = _best_and_worst_first(found)
    app.out.document({"samples": [sample.model_dump(mode="json") for sample in found]})
    if not found:
        app.out.talk(f"{run_id} has no samples{f' of step {step}' if step else ''}.")
    for sample in found:
        _show_sample(app, sample)


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
        show_end(app, followed)
    if followed.state is not RunState.DONE or not found.identical:
        context.exit(1)


def _csv(steps: Sequence[Mapping[str, float]]) -> str:
    names = sorted({name for step in steps for name in step} - {"step"})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**step, "step": int(step["step"])} for step in steps)
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _best_and_worst_first(samples: Sequence[RunSample]) -> list[RunSample]:
    """Sort samples: the best, the worst, then the others from good to bad, unscorable ones last."""
    scored = [sample for sample in samples if sample.reward is not None]
    ranked = sorted(scored, key=lambda sample: sample.reward or 0.0, reverse=True)
    unscorable = [sample for sample in samples if sample.reward is None]
    return [*ranked[:1], *ranked[1:][-1:], *ranked[1:-1], *unscorable]


def _show_sample(app: App, sample: RunSample) -> None:
    app.out.data(sample_title(sample).capitalize(), style="bold")
    for message in sample.messages:
        _show_message(app, message, style="dim")
    for message in sample.completion:
        _show_message(app, message)
    if sample.error:
        app.out.data(f"  error: {sample.error}", style="red")
    if sample.metrics:
        app.out.data(
            f"  {' '.join(f'{name}={value:.4g}' for name, value in sample.metrics.items())}"
        )
    app.out.data()


def _show_message(app: App, message: SampleMessage, *, style: str | None = None) -> None:
    first, *rest = message.content.splitlines() or [""]
    app.out.data(f"  {message.role}: {first}", style=style)
    for line in rest:
        app.out.data(f"    {line}", style=style)


def _kept(item: Checkpoint) -> str:
    """Say what is left of a checkpoint: to deploy it, and to go on from it."""
    parts = [("adapter", item.adapter_kept), ("state", item.state_kept)]
    return ", ".join(name for name, kept in parts if kept) or "nothing"
