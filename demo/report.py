"""What the demo shows at its end: on the terminal, as Markdown, as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from freesolo.cli.sparkline import sparkline
from freesolo.domain.statistics import mean

NEXT = """. .venv/bin/activate
freesolo up --detach
freesolo init my-task
freesolo publish my-task
freesolo train my-task/configs/sft.toml"""

_LONGEST = 80
# A step's reward is of a few prompts only; so many together tell more.
_WINDOW = 5


def learned(report: Mapping[str, Any]) -> bool:
    """Say whether imitation and practice each raised the held-out score, intervals apart."""
    practice = report["practice"]
    return all(
        after["interval"][0] > before["interval"][1]
        for before, after in (
            (report["base"], report["tuned"]),
            (practice["before"], practice["after"]),
        )
    )


def write(report: Mapping[str, Any], folder: Path) -> None:
    """Write `report.json` and `report.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    (folder / "report.md").write_text(as_markdown(report))


def show(report: Mapping[str, Any]) -> None:
    """Print the report on the terminal; nothing is cut off, however narrow it is."""
    console = Console(highlight=False, markup=False)
    console.rule("A model has learned a task")
    _print_rows(console, _facts(report))
    console.print(f"\nThe same question to both: {report['chat']['question']}")
    _print_rows(console, [(name, report["chat"][name]) for name in ("base", "tuned")])
    console.print("\nHeld-out answers side by side")
    answers = Table("question", "gold", "base", "tuned", box=SIMPLE)
    for row in report["samples"]:
        answers.add_row(
            *(Text(_flat(row[name])) for name in ("prompt", "expected", "base", "tuned"))
        )
    console.print(answers)
    console.print("Seconds")
    _print_rows(console, [(phase, str(taken)) for phase, taken in report["seconds"].items()])
    console.print(f"\nThe demo's platform is gone. Next, one of your own:\n{NEXT}")


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the report as a Markdown page."""
    return "\n".join(
        [
            "# A model has learned a task",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in _facts(report)),
            "",
            "## The same question to both",
            "",
            f"> {report['chat']['question']}",
            "",
            f"- base: {_flat(report['chat']['base'])}",
            f"- tuned: {_flat(report['chat']['tuned'])}",
            "",
            "## Held-out answers side by side",
            "",
            "| question | gold | base | tuned |",
            "|---|---|---|---|",
            *(
                f"| {' | '.join(_cell(row[name]) for name in ('prompt', 'expected', 'base', 'tuned'))} |"
                for row in report["samples"]
            ),
            "",
            "## Seconds",
            "",
            "| phase | s |",
            "|---|---|",
            *(f"| {phase} | {seconds} |" for phase, seconds in report["seconds"].items()),
            "",
            "## Next",
            "",
            "```",
            NEXT,
            "```",
            "",
        ]
    )


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    environment, train = report["environment"], report["train"]
    practice = report["practice"]
    return [
        ("task", f"{environment['ref']} {environment['version']}"),
        ("tree digest", environment["tree_digest"]),
        ("base model", report["run"]["model"]),
        ("run", report["run"]["id"]),
        ("adapter", report["adapter"]["revision"]),
        ("training", f"{train['steps']} steps, {train['tokens_per_second']} tokens/s"),
        ("held-out, base", _score(report["base"])),
        ("held-out, tuned", _score(report["tuned"])),
        ("practice", f"{practice['run']}: {practice['steps']} steps on from {practice['from']}"),
        ("reward, step by step", _curve(practice["rewards"])),
        ("held-out, before practice", _score(practice["before"])),
        ("held-out, after practice", _score(practice["after"])),
    ]


def _print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, Text(value, overflow="fold"))
    console.print(table)


def _curve(rewards: Sequence[float]) -> str:
    """Draw how the mean reward went, with its first and last steps in numbers."""
    first, last = mean(rewards[:_WINDOW]), mean(rewards[-_WINDOW:])
    return f"{first:.2f} {sparkline(rewards, width=30)} {last:.2f}"


def _score(score: Mapping[str, Any]) -> str:
    low, high = score["interval"]
    share = score["correct"] / score["total"]
    return (
        f"{score['correct']} of {score['total']} right, {share:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%})"
    )


def _flat(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _cell(text: str | None) -> str:
    return _flat(text).replace("|", "\\|")
