"""The page and its cases belong together."""

import importlib
from pathlib import Path

from tests.contract.environment.clauses import cited_by, written_clauses

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))


def cited_clauses() -> set[str]:
    modules = [importlib.import_module(f"{__package__}.{name}") for name in MODULES]
    return {
        number for module in modules for case in vars(module).values() for number in cited_by(case)
    }


def test_every_clause_has_a_case() -> None:
    assert [number for number in written_clauses() if number not in cited_clauses()] == []


def test_every_case_cites_a_clause_that_is_written() -> None:
    assert sorted(cited_clauses() - set(written_clauses())) == []


def test_no_number_is_given_twice() -> None:
    assert len(written_clauses()) == len(set(written_clauses())) > 0
