"""What one model got in all suites: summed up, compared with another's, written to a file."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from freesolo.domain.evaluations import (
    CaseResult,
    Comparison,
    Outcome,
    SuiteSummary,
    compare,
    summarize,
)
from freesolo.errors import EnvironmentFailed, InvalidInput, Unavailable
from freesolo.evaluation.models import AskedModel
from freesolo.evaluation.running import Played


@dataclass
class Report:
    """What a model got, suite by suite, and under which id the hub keeps it, if it does."""

    model: AskedModel
    suites: dict[str, list[Played]]
    evaluation: str | None = None

    @property
    def target(self) -> str:
        """What its user calls the model."""
        return self.model.target.text

    @property
    def results(self) -> dict[str, list[CaseResult]]:
        """The results of each suite, without the episodes."""
        return {name: [each.result for each in played] for name, played in self.suites.items()}

    @property
    def every_result(self) -> list[CaseResult]:
        """The results of all suites."""
        return [result for results in self.results.values() for result in results]

    def summaries(self) -> list[SuiteSummary]:
        """Sum up each suite."""
        return [summarize(name, results) for name, results in self.results.items()]

    def require_scores(self) -> None:
        """Raise if not one answer could be scored: then nothing was found out about the model."""
        results = self.every_result
        if not results or any(result.score is not None for result in results):
            return
        unscorable = [each for each in results if each.outcome is Outcome.UNSCORABLE]
        if not unscorable:
            raise Unavailable(f"{self.target} answered not one case.", hint=results[0].error)
        raise EnvironmentFailed("Not one case could be scored.", hint=unscorable[0].error)


def compare_reports(first: Report, second: Report) -> list[Comparison]:
    """Compare two models suite by suite; suites in which no case was scored for both are left out."""
    others = second.results
    found = (compare(name, results, others[name]) for name, results in first.results.items())
    return [comparison for comparison in found if comparison is not None]


def case_document(result: CaseResult) -> dict[str, object]:
    """Return one answer as JSON."""
    return {**asdict(result), "passed": result.passed}


def require_room_for(path: Path) -> None:
    """Raise if no file can be written at `path`, before anybody is asked anything."""
    if not os.access(path.parent, os.W_OK):
        raise InvalidInput(
            f"No file can be written to {path.parent}.", hint="`--out` makes no folder."
        )


def write_reports(path: Path, reports: Sequence[Report]) -> None:
    """Write every answer with its episode, one JSON object a line; the file is whole, or not there."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for report in reports:
                file.writelines(f"{json.dumps(line)}\n" for line in _lines(report))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _lines(report: Report) -> Iterator[dict[str, object]]:
    head = {"target": report.target, "revision": report.model.revision}
    for name, suite in report.suites.items():
        for played in suite:
            case = case_document(played.result)
            yield {**head, "suite": name, **case, "transcript": played.transcript.document()}
