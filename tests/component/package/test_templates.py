import tomllib
from pathlib import Path

import pytest

from freesolo.errors import FolderNotEmpty, InvalidRef, TemplateNotFound
from freesolo.package.checks import Severity, check_folder
from freesolo.package.templates import list_templates, write_template
from freesolo.runtime.client import HostOptions, open_host


def test_the_default_template_is_shipped() -> None:
    assert "single-turn" in list_templates()


@pytest.mark.parametrize("template", list_templates())
def test_a_template_has_no_fault(template: str, tmp_path: Path, options: HostOptions) -> None:
    write_template(template, tmp_path / "mine", name="mine")

    report = check_folder(tmp_path / "mine", options)

    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []


@pytest.mark.parametrize("template", list_templates())
def test_a_template_has_held_out_cases(template: str, tmp_path: Path, options: HostOptions) -> None:
    write_template(template, tmp_path / "mine", name="mine")

    with open_host(tmp_path / "mine", options) as host:
        (suite,) = host.suites()
        examples = host.examples()

    assert suite.name == "heldout"
    assert len(suite.cases) == 120
    assert len(examples) == 600


@pytest.mark.parametrize("template", list_templates())
def test_a_template_can_score_whatever_a_model_writes(
    template: str, tmp_path: Path, options: HostOptions
) -> None:
    write_template(template, tmp_path / "mine", name="mine")
    answers = ["", "[" * 100_000, "{" * 100_000, "9" * 10_000, "null", "\ud800", "\x00"]

    with open_host(tmp_path / "mine", options) as host:
        scores = host.score_responses(host.examples()[0], answers)

    assert [score.reward for score in scores] == [0.0] * len(answers)


@pytest.mark.parametrize("template", list_templates())
def test_a_template_takes_the_name_it_is_given(template: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"

    written = write_template(template, folder, name="mine")

    manifest = tomllib.loads((folder / "environment.toml").read_text())
    config = tomllib.loads((folder / "configs" / "sft.toml").read_text())
    assert manifest["environment"]["name"] == "mine"
    assert config["environment"]["id"] == "local/mine"
    assert (folder / "README.md").read_text().startswith("# mine\n")
    assert written == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_folder_that_holds_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "work.txt").write_text("mine")

    with pytest.raises(FolderNotEmpty):
        write_template("single-turn", tmp_path, name="mine")


def test_an_unknown_template_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TemplateNotFound) as failure:
        write_template("singel-turn", tmp_path / "mine", name="mine")

    assert failure.value.hint == "Did you mean `single-turn`?"


def test_a_name_that_cannot_be_published_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRef):
        write_template("single-turn", tmp_path / "mine", name="my task")
