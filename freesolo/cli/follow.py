"""Follow a run from the terminal: its log, its metrics, its end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from freesolo.cli.context import App
from freesolo.cli.output import Bar
from freesolo.domain.lifecycle import RUN_ENDED, RunState
from freesolo.errors import Unavailable, from_wire
from freesolo.schemas.runs import EventKind, Run, RunEvent

_POLL_SECONDS = 0.5
# How long a hub may be away before following it ends; a restart takes a few seconds.
_PATIENCE_SECONDS = 60.0


class _Detached(Exception):
    """Ctrl-C was pressed."""


def follow(app: App, run_id: str) -> Run:
    """Show a run's events until it has ended, or until Ctrl-C; return it as it is then."""
    after = 0
    lost_since: float | None = None
    with app.out.progress(run_id) as bar:
        try:
            with _detach_on_interrupt():
                while True:
                    try:
                        page = app.hub.run_events(run_id, after=after)
                        lost_since = None
                    except Unavailable:
                        lost_since = lost_since or time.monotonic()
                        if time.monotonic() - lost_since > _PATIENCE_SECONDS:
                            raise
                        time.sleep(_POLL_SECONDS)
                        continue
                    for event in page.events:
                        after = event.seq
                        _show_event(app, event, bar)
                    if page.state in RUN_ENDED and not page.events:
                        break
                    if not page.events:
                        time.sleep(_POLL_SECONDS)
        except _Detached:
            app.out.talk(f"Detached; {run_id} goes on.")
            app.out.talk(f"  freesolo runs logs {run_id} --follow    comes back to it")
            app.out.talk(f"  freesolo runs cancel {run_id}           stops it")
    return app.hub.run(run_id)


def show_outcome(app: App, run: Run) -> None:
    """Print how a run stands, why it failed if it did, and what to type next."""
    app.out.fields(
        {
            "run": run.id,
            "state": run.state,
            "environment": f"{run.environment.ref} {run.environment.version}",
            "tree digest": run.environment.tree_digest,
            "model": run.model,
            "step": f"{run.step} of {run.total_steps}" if run.total_steps else run.step,
            **({"now": run.phase} if run.phase else {}),
            **({"adapter": run.adapter_revision} if run.adapter_revision else {}),
            **{name: f"{value:.4g}" for name, value in sorted(run.metrics.items())},
        }
    )
    if run.error is not None:
        error = from_wire({"error": run.error.model_dump()}, 500)
        if not app.out.json_mode:
            app.out.error(error)
    elif run.state is RunState.DONE:
        app.out.next_step(f"freesolo deploy {run.id} --wait")
    elif run.state not in RUN_ENDED:
        if run.waits_because:
            app.out.talk(run.waits_because)
        app.out.next_step(f"freesolo runs logs {run.id} --follow")


def run_document(run: Run) -> dict[str, object]:
    """Return a run as `--json` prints it."""
    return run.model_dump(mode="json")


def event_line(event: RunEvent) -> str:
    """Write an event on one line."""
    if event.kind is EventKind.METRICS:
        numbers = " ".join(
            f"{name}={value:.4g}"
            for name, value in event.data.items()
            if isinstance(value, int | float)
        )
        return f"step {event.step}: {numbers}"
    if event.kind is EventKind.STATE:
        return f"[{event.data.get('state')}] {event.data.get('message', '')}".rstrip()
    return str(event.data.get("message", ""))


def _show_event(app: App, event: RunEvent, bar: Bar) -> None:
    if event.kind is EventKind.METRICS and bar.visible:
        loss = event.data.get("loss")
        speed = event.data.get("tokens_per_s")
        note = " ".join(
            f"{name} {value:.3g}"
            for name, value in (("loss", loss), ("tokens/s", speed))
            if isinstance(value, int | float)
        )
        total = event.data.get("total_steps")
        bar.show(event.step or 0, int(total) if isinstance(total, int | float) else None, note=note)
        return
    app.out.talk(event_line(event))


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
