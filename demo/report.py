"""What the demo shows at its end: on the terminal, as Markdown, as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown


def learned(report: Mapping[str, Any]) -> bool:
    """Say whether the adapter's held-out score is above the base model's, intervals apart."""
    return bool(report["tuned"]["interval"][0] > report["base"]["interval"][1])


def write(report: Mapping[str, Any], folder: Path) -> None:
    """Write `report.json` and `report.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    (folder / "report.md").write_text(as_markdown(report))


def show(report: Mapping[str, Any]) -> None:
    """Print the report on the terminal."""
    Console().print(Markdown(as_markdown(report)))


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the report as a Markdown page."""
    environment, train = report["environment"], report["train"]
    return "\n".join(
        [
            "# A model has learned a task",
            "",
            "| | |",
            "|---|---|",
            f"| task | `{environment['ref']}` {environment['version']} |",
            f"| tree digest | `{environment['tree_digest']}` |",
            f"| base model | `{report['run']['model']}` |",
            f"| run | `{report['run']['id']}` |",
            f"| adapter | `{report['adapter']['revision']}` |",
            f"| training | {train['steps']} steps, {train['tokens_per_second']} tokens/s |",
            f"| held-out, base model | {_score(report['base'])} |",
            f"| held-out, adapter | {_score(report['tuned'])} |",
            "",
            "## The same question to both",
            "",
            f"> {report['chat']['question']}",
            "",
            f"- base: {_cell(report['chat']['base'])}",
            f"- tuned: {_cell(report['chat']['tuned'])}",
            "",
            "## Held-out answers side by side",
            "",
            "| question | gold | base | tuned |",
            "|---|---|---|---|",
            *(
                f"| {_cell(row['prompt'])} | {_cell(row['expected'])} "
                f"| {_cell(row['base'])} | {_cell(row['tuned'])} |"
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
            "The demo's platform is gone. For one of your own:",
            "",
            "```",
            ". .venv/bin/activate",
            "freesolo up --detach",
            "freesolo init my-task",
            "freesolo publish my-task",
            "freesolo train my-task/configs/sft.toml",
            "```",
            "",
        ]
    )


def _score(score: Mapping[str, Any]) -> str:
    low, high = score["interval"]
    share = score["correct"] / score["total"]
    return (
        f"{score['correct']} of {score['total']} right, {share:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%})"
    )


def _cell(text: str | None) -> str:
    flat = " ".join((text or "").split()).replace("|", "\\|")
    return flat if len(flat) <= 80 else f"{flat[:77]}..."
