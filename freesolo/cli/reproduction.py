"""Two runs side by side: the first, and the one that did it over again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from freesolo.cli.context import App
from freesolo.domain.reproduction import Difference, StepPair, differences, pair_steps
from freesolo.schemas.runs import RunDetail

# Of a digest: enough to tell two apart.
_SHOWN = len("sha256:") + 16


@dataclass(frozen=True)
class Comparison:
    """What came out of a run made again. Each step that the original saved counts.

    `differences` is None where it is not known of both what made them.
    """

    original: str
    steps: Sequence[StepPair]
    differences: Sequence[Difference] | None

    @property
    def identical(self) -> bool:
        """Whether every step came out the same, to the byte."""
        return all(pair.identical for pair in self.steps)

    def document(self) -> dict[str, object]:
        """Return the comparison as `--json` prints it."""
        return {
            "original": self.original,
            "identical": self.identical,
            "steps": [{**asdict(pair), "identical": pair.identical} for pair in self.steps],
            "differences": None
            if self.differences is None
            else [asdict(each) for each in self.differences],
        }


def compare(app: App, original_id: str, run: RunDetail) -> Comparison:
    """Set what a run saved, and what it was made with, against those of the original."""
    original = app.hub.run(original_id)
    first, second = (
        {point.step: point.digest for point in app.hub.checkpoints(each)}
        for each in (original.id, run.id)
    )
    made_by = [
        each.provenance.model_dump(mode="json") if each.provenance else {}
        for each in (original, run)
    ]
    return Comparison(
        original=original.id,
        steps=pair_steps(first, second),
        differences=list(differences(*made_by)) if all(made_by) else None,
    )


def show_comparison(app: App, found: Comparison) -> None:
    """Print whether a run came out the same, and if not, what was not the same about it."""
    app.out.table(
        ("step", "original", "reproduced", ""),
        [
            (
                pair.step,
                pair.original[:_SHOWN],
                (pair.reproduced or "nothing")[:_SHOWN],
                "identical" if pair.identical else "differs",
            )
            for pair in found.steps
        ],
    )
    if found.identical:
        app.out.data(f"Identical to {found.original}, to the byte.", style="green")
        return
    app.out.data(f"It differs from {found.original}.", style="red")
    for difference in found.differences or ():
        app.out.data(f"  {difference}")
    if found.differences is None:
        app.out.data("  It is not known of both what made them.")
    elif not found.differences:
        app.out.data(
            "  Nothing that is recorded of the two differs. An accelerator and vLLM add up in no fixed "
            "order; else look for a reward that draws at random or asks a service, and for a base model "
            "that changed under its revision."
        )
