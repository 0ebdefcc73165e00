"""The documents say what the code does."""

import re
import runpy
from pathlib import Path

import pytest

from freesolo.domain.worker_env import WORKER_VARIABLES
from freesolo.package import checks
from freesolo.package.templates import TEMPLATES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    pages: dict[str, str] = runpy.run_path(str(DOCS / "generate.py"))["pages"]()
    return pages


def test_the_generated_pages_are_up_to_date(generated: dict[str, str]) -> None:
    stale = [path for path, text in generated.items() if (DOCS / path).read_text() != text]
    assert stale == [], "run `make docs`"


def test_every_finding_of_validate_is_documented() -> None:
    codes = re.findall(r"^  (\w+)  ", checks.__doc__ or "", re.MULTILINE)
    guides = ("validate.md", "reward-audit.md")
    guide = "".join((DOCS / "guides" / name).read_text() for name in guides)
    assert codes
    assert [code for code in codes if f"`{code}`" not in guide] == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(DOCS.rglob("*.md")), ids=str)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_template_is_named_in_the_documents() -> None:
    text = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    assert [item.name for item in TEMPLATES if item.name not in text] == []


def test_every_variable_that_a_config_may_set_is_documented() -> None:
    guide = (DOCS / "guides" / "training.md").read_text()
    assert [name for name in WORKER_VARIABLES if f"`{name}`" not in guide] == []
