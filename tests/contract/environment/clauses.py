"""Which clause of docs/reference/environment-contract.md a case is about."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "environment-contract.md"

Case = TypeVar("Case", bound=Callable[..., Any])


def clause(*numbers: str) -> Callable[[Case], Case]:
    """Mark a test as a case of these clauses: `@clause("C3.4")`."""

    def cite(case: Case) -> Case:
        vars(case)["clauses"] = numbers
        return case

    return cite


def cited_by(case: object) -> tuple[str, ...]:
    """Return the clauses of a test, none if it is no case."""
    cited: tuple[str, ...] = getattr(case, "clauses", ())
    return cited


def written_clauses() -> list[str]:
    """Return the clauses of the page, in its order."""
    return re.findall(r"^\*\*(C\d+\.\d+)\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
