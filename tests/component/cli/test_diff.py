"""`freesolo diff`: two folders, two versions, or one of each."""

from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.factories import make_environment
from tests.hubs import LiveHub


@pytest.fixture
def math(freesolo: Freesolo) -> Path:
    folder = make_environment(Path("math"), name="math", version="1.0")
    (folder / "dataset").mkdir()
    (folder / "dataset" / "train.jsonl").write_text('{"id": 1, "input": "1+1"}\n')
    return folder


def change(folder: Path) -> None:
    """Make another version of the environment: another reward, and one more row."""
    code = folder / "environment.py"
    code.write_text(code.read_text().replace("float(", "2 * float("))
    manifest = folder / "environment.toml"
    manifest.write_text(manifest.read_text().replace('"1.0"', '"1.1"'))
    with (folder / "dataset" / "train.jsonl").open("a") as dataset:
        dataset.write('{"id": 2, "input": "1+2"}\n')


def publish(freesolo: Freesolo, folder: Path) -> str:
    published = freesolo("publish", folder, "--force", "--json")
    assert published.code == 0, published.err
    return str(published.document["tree_digest"])


def test_two_versions_and_a_folder_are_compared(
    freesolo: Freesolo, math: Path, with_hub: LiveHub
) -> None:
    first = publish(freesolo, math)
    change(math)
    found = freesolo("diff", "local/math@1.0", math, "--json").document
    assert (found["old"]["name"], found["old"]["tree_digest"]) == ("local/math@1.0", first)
    assert [file["path"] for file in found["files"]] == [
        "dataset/train.jsonl",
        "environment.py",
        "environment.toml",
    ]
    assert found["rows"][0]["counts"] == {"added": 1, "removed": 0, "changed": 0}
    assert found["patches"][0]["path"] == "environment.py"
    second = publish(freesolo, math)
    between = freesolo("diff", "local/math@1.0", f"local/math@{second}", "--json").document
    assert {**between, "new": found["new"]} == found


def test_a_difference_is_shown_with_signs(freesolo: Freesolo, math: Path) -> None:
    other = make_environment(Path("other"), name="math", version="1.0")
    change(math)
    shown = freesolo("diff", other, math).out.splitlines()
    assert "+ dataset/train.jsonl  (added, 52 bytes)" in shown
    assert "dataset/train.jsonl: rows matched by id: 2 added, 0 removed, 0 changed" in shown
    assert '+ {"id": 2, "input": "1+2"}' in shown
    assert '+        return 2 * float(response.strip() == "yes")' in shown


def test_what_does_not_differ_is_said_to_be_equal(freesolo: Freesolo, math: Path) -> None:
    same = freesolo("diff", math, math)
    assert (same.code, same.out.startswith("No difference: both are sha256:")) == (0, True)
    assert freesolo("diff", math, math, "--json").document["files"] == []


def test_what_is_neither_a_folder_nor_a_reference_is_refused(
    freesolo: Freesolo, math: Path
) -> None:
    refusal = freesolo("diff", math, "nowhere", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_ref")
