"""Follow a run from the terminal: its log, its metrics, how it learns, its end."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType

from freesolo.cli.context import App
from freesolo.cli.lineage import adapter_line, teacher_line
from freesolo.cli.run_view import RunView
from freesolo.domain.health import Hint, Mood, health_hints
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.errors import Unavailable, from_wire
from freesolo.schemas.runs import EventKind, EventPage, Run, RunDetail, RunEvent, StepMetrics

# What a line or a row has room for, where it was measured, and what it is called there.
MAIN_METRICS = {
    "reward": "reward",
    "reward_std": "std",
    "frac_reward_zero_std": "flat groups",
    "teacher_kl": "teacher kl",
    "loss": "loss",
    "grad_norm": "grad norm",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "cut off",
    "rollout/unscorable_frac": "unscorable",
    "learning_rate": "lr",
    "tokens_per_s": "tokens/s",
    "time/step": "seconds",
}

_POLL_SECONDS = 0.5
# How long a hub may be away before following it ends; a restart takes a few seconds.
_PATIENCE_SECONDS = 60.0


class _Detached(Exception):
    """Ctrl-C was pressed."""


def follow(app: App, run_id: str) -> RunDetail:
    """Print a run's events, a line each, until it has ended, or until Ctrl-C; return it then."""

    def show(page: EventPage) -> None:
        for event in page.events:
            app.out.talk(event_line(event))

    _until_it_ends(app, run_id, show)
    return app.hub.run(run_id)


def watch(app: App, run_id: str) -> RunDetail:
    """Show how a run learns until it has ended, or until Ctrl-C; return it then.

    Without a terminal it is followed line by line.
    """
    if not app.out.has_screen:
        return follow(app, run_id)
    view = RunView(app.hub.run(run_id))
    with app.out.screen() as screen:

        def show(page: EventPage) -> None:
            for event in page.events:
                view.hear(event)
            kinds = {event.kind for event in page.events}
            if EventKind.STATE in kinds or view.run.state is not page.state:
                view.run = app.hub.run(run_id)
            if EventKind.METRICS in kinds:
                view.sample = app.hub.newest_sample(run_id)
            screen.show(view)

        _until_it_ends(app, run_id, show)
    return app.hub.run(run_id)


def _until_it_ends(app: App, run_id: str, show: Callable[[EventPage], None]) -> None:
    """Pass a run's events to `show` as they come, until it has ended, or until Ctrl-C."""
    after = 0
    lost_since: float | None = None
    try:
        with _detach_on_interrupt():
            while True:
                try:
                    page = app.hub.run_events(run_id, after=after)
                    after = page.events[-1].seq if page.events else after
                    show(page)
                    lost_since = None
                except Unavailable:
                    lost_since = lost_since or time.monotonic()
                    if time.monotonic() - lost_since > _PATIENCE_SECONDS:
                        raise
                    time.sleep(_POLL_SECONDS)
                    continue
                if not page.events:
                    if page.state in RUN_ENDED:
                        return
                    time.sleep(_POLL_SECONDS)
    except _Detached:
        app.out.talk(f"Detached; {run_id} goes on.")
        app.out.talk(f"  freesolo runs watch {run_id}     comes back to it")
        app.out.talk(f"  freesolo runs cancel {run_id}    stops it")


def hints_on(app: App, run: Run) -> list[Hint]:
    """Say what the metrics of a run mean."""
    if not run.metrics:
        return []
    return health_hints([measured(step) for step in app.hub.run_metrics(run.id)])


def measured(step: StepMetrics) -> dict[str, float]:
    """Return a step's metrics with the step among them."""
    return {"step": step.step, **step.values}


def show_outcome(app: App, run: Run) -> None:
    """Print how a run stands, why it failed if it did, and what to type next."""
    hints = hints_on(app, run)
    app.out.document(run_document(run, hints))
    show_run(app, run, hints)
    show_end(app, run)


def show_run(app: App, run: Run, hints: Sequence[Hint]) -> None:
    """Print what a run is, how it stands, and what its metrics mean."""
    app.out.fields(
        {
            "run": run.id,
            "state": run.state,
            "environment": f"{run.environment.ref} {run.environment.version}",
            "tree digest": run.environment.tree_digest,
            "model": f"{run.model} ({run.model_revision})",
            **({"goes on from": adapter_line(run.warm_start)} if run.warm_start else {}),
            **({"teacher": teacher_line(run.teacher)} if run.teacher else {}),
            **({"reproduces": run.reproduces} if run.reproduces else {}),
            "step": f"{run.step} of {run.total_steps}" if run.total_steps else run.step,
            **({"now": run.phase} if run.phase else {}),
            **({"adapter": run.adapter_revision} if run.adapter_revision else {}),
            **{name: f"{value:.4g}" for name, value in sorted(run.metrics.items())},
        }
    )
    for hint in hints:
        app.out.data(hint.message, style="green" if hint.mood is Mood.GOOD else "yellow")


def show_end(app: App, run: Run) -> None:
    """Print why a run failed if it did, and what to type next."""
    if run.error is not None:
        error = from_wire({"error": run.error.model_dump()}, 500)
        if not app.out.json_mode:
            app.out.error(error)
    elif run.state is RunState.DONE:
        app.out.next_step(f"freesolo deploy {run.id} --wait")
    elif run.state not in RUN_ENDED:
        if run.waits_because:
            app.out.talk(run.waits_because)
        app.out.next_step(f"freesolo runs watch {run.id}")


def run_document(run: Run, hints: Sequence[Hint] | None = None) -> dict[str, object]:
    """Return a run as `--json` prints it, with hints if they were looked for."""
    document: dict[str, object] = run.model_dump(mode="json")
    return document if hints is None else document | {"hints": [asdict(hint) for hint in hints]}


def event_line(event: RunEvent) -> str:
    """Write an event on one line: of metrics the main ones, for `runs metrics` has them all."""
    if event.kind is EventKind.METRICS:
        measured = {name: event.data.get(name) for name in MAIN_METRICS}
        numbers = " ".join(
            f"{name}={value:.4g}"
            for name, value in measured.items()
            if isinstance(value, int | float)
        )
        return f"step {event.step}: {numbers}"
    if event.kind is EventKind.STATE:
        return f"[{event.data.get('state')}] {event.data.get('message', '')}".rstrip()
    return str(event.data.get("message", ""))


@contextmanager
def _detach_on_interrupt() -> Iterator[None]:
    """Turn Ctrl-C into `_Detached` once, wherever the block is waiting."""

    def detach(_number: int, _frame: FrameType | None) -> None:
        raise _Detached

    before = signal.signal(signal.SIGINT, detach)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
