"""What a terminal shows of a run while it learns: how far it is, how well it does, what it says."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from freesolo.cli.output import plain
from freesolo.cli.sparkline import sparkline
from freesolo.domain.health import Mood, health_hints, recent, seconds_left, series
from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import EventKind, Run, RunEvent, RunSample

# Metrics that are drawn as curves, where they were measured.
_CURVES = ("reward", "teacher_kl", "loss")
_CURVE_WIDTH = 40
# Beside a curve, its name and its numbers need so much room.
_BESIDE = 46
_LOG_LINES = 3
_PROMPT, _ANSWER = 160, 320


class RunView:
    """A run as far as its events have told. Rich draws it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.sample: RunSample | None = None
        self._log: list[str] = []
        self._steps: dict[int, dict[str, float]] = {}
        self._attempt = 0

    def hear(self, event: RunEvent) -> None:
        """Take in one event."""
        if event.kind is EventKind.LOG:
            lines = str(event.data.get("message", "")).splitlines()
            self._log = [*self._log, *lines][-_LOG_LINES:]
        elif event.kind is EventKind.METRICS and event.step is not None:
            self._measure(event.step, event)

    @property
    def steps(self) -> Sequence[Mapping[str, float]]:
        """What was measured in each step, up to where the newest attempt is."""
        return [self._steps[step] for step in sorted(self._steps)]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw everything inside a frame."""
        width = max(8, min(_CURVE_WIDTH, options.max_width - _BESIDE))
        parts = [
            self._head(),
            self._progress(width),
            *self._curves(width, ascii_only=options.ascii_only),
            *self._figures(),
            *self._hints(ascii_only=options.ascii_only),
            *self._newest_sample(),
            *self._newest_log(),
        ]
        again = f", attempt {self.run.attempt}" if self.run.attempt > 1 else ""
        title = Text(plain(f" {self.run.id}: {self.run.state.value}{again} "), style="bold")
        yield Panel(Group(*parts), title=title, title_align="left", padding=(0, 1))

    def _measure(self, step: int, event: RunEvent) -> None:
        if event.attempt > self._attempt:
            # It goes on from a checkpoint: what the one before it did since then is done again.
            self._attempt = event.attempt
            self._steps = {done: told for done, told in self._steps.items() if done < step}
        self._steps[step] = (
            self._steps.get(step, {})
            | {"step": step}
            | {
                name: float(value)
                for name, value in event.data.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
        )

    def _head(self) -> Text:
        run = self.run
        algorithm = str(run.spec.get("algorithm", "")).upper()
        return _line(
            f"{algorithm} on {run.environment.ref} {run.environment.version} with {run.model}"
        )

    def _progress(self, width: int) -> RenderableType:
        done = max(self._steps, default=0)
        total = self.run.total_steps
        if not total:
            return _line(_WAITING.get(self.run.state, ""), style="dim")
        words = [f"{done} of {total} steps"]
        if (pace := recent(self.steps, "time/step")) is not None:
            words.append(f"{pace:.2g} s each")
        left = seconds_left(self.steps, total)
        if left and self.run.state is RunState.RUNNING:
            words.append(f"{duration(left)} left")
        row = Table.grid(padding=(0, 2))
        row.add_row(ProgressBar(total, done, width=width), _line(", ".join(words)))
        return row

    def _curves(self, width: int, *, ascii_only: bool) -> Iterator[RenderableType]:
        grid = Table.grid(padding=(0, 2))
        for name in _CURVES:
            values = series(self.steps, name)
            if values:
                curve = sparkline(values, width, ascii_only=ascii_only)
                note = f"{values[-1]:.4g}"
                if len(values) > 1:
                    note += f"  ({min(values):.3g} to {max(values):.3g})"
                grid.add_row(name, Text(curve, style="cyan"), _line(note))
        if grid.row_count:
            yield grid

    def _figures(self) -> Iterator[RenderableType]:
        now = self.steps[-1] if self._steps else {}
        words = [template.format(now[name]) for name, template in _FIGURES.items() if name in now]
        if words:
            yield _paragraph(" · ".join(words), style="dim")

    def _hints(self, *, ascii_only: bool) -> Iterator[RenderableType]:
        for hint in health_hints(self.steps):
            good = hint.mood is Mood.GOOD
            mark = "+" if good and ascii_only else "✓" if good else "!"
            yield _paragraph(f"{mark} {hint.message}", style="green" if good else "yellow")

    def _newest_sample(self) -> Iterator[RenderableType]:
        sample = self.sample
        if sample is None:
            return
        yield Text("")
        yield _line(f"A sample of {sample_title(sample)}", style="dim")
        question = sample.messages[-1].content if sample.messages else ""
        answer = " / ".join(item.content for item in sample.completion)
        grid = Table.grid(padding=(0, 1))
        grid.add_row("asked", _squeezed(question, _PROMPT))
        grid.add_row("said", _squeezed(answer, _ANSWER))
        if sample.error:
            grid.add_row("error", _squeezed(sample.error, _PROMPT))
        yield grid

    def _newest_log(self) -> Iterator[RenderableType]:
        if self._log:
            yield Text("")
        for line in self._log:
            yield _line(line, style="dim")


_WAITING = {
    RunState.QUEUED: "It waits for a worker.",
    RunState.STARTING: "A worker has it, and prepares.",
}
_FIGURES = {
    "tokens_per_s": "{:,.0f} tokens/s",
    "completions/mean_length": "answers of {:,.0f} tokens",
    "num_turns/mean": "{:.2g} turns",
    "completions/clipped_ratio": "{:.0%} cut off",
    "rollout/unscorable_frac": "{:.0%} unscorable",
    "frac_reward_zero_std": "{:.0%} of groups flat",
    "entropy": "entropy {:.3g}",
    "grad_norm": "gradient {:.3g}",
    "kl": "KL {:.3g}",
}


def sample_title(sample: RunSample) -> str:
    """Say in a few words where a sample is from and what it got."""
    reward = "unscorable" if sample.reward is None else f"reward {sample.reward:.3g}"
    advantage = "" if sample.advantage is None else f", advantage {sample.advantage:+.3g}"
    return (
        f"step {sample.step}, example {sample.example}, rollout {sample.rollout}: "
        f"{reward}{advantage}, {sample.finish}, {sample.tokens} tokens"
    )


def duration(seconds: float) -> str:
    """Write a time span as people say it, to two units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _line(text: str, *, style: str = "") -> Text:
    return Text(plain(text), style=style, no_wrap=True, overflow="ellipsis")


def _paragraph(text: str, *, style: str = "") -> Text:
    # Said outright: the console that draws it lets long lines run on.
    return Text(plain(text), style=style, no_wrap=False, overflow="fold")


def _squeezed(text: str, most: int) -> Text:
    """Return a text of any length as a short paragraph."""
    words = " ".join(text.split())
    return _paragraph(words if len(words) <= most else f"{words[: most - 1]}…")
