"""What holds for every template."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from freesolo.datasets import target_messages
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.train_spec import check_train_spec, parse_document, parse_train_spec
from freesolo.errors import FolderNotEmpty, InvalidRef, TemplateNotFound
from freesolo.package.checks import Severity, check_folder
from freesolo.package.templates import TEMPLATES, find_template, write_environment
from freesolo.runtime.client import HostOptions
from freesolo.runtime.episodes import Ending, play
from freesolo.runtime.episodes import score as score_episodes
from tests.component.package.template_folders import (
    PoliteJudge,
    open_template,
    saying,
    secrets_of,
    spoken,
    write_template,
)

NAMES = [template.name for template in TEMPLATES]
PACKAGE = files("env_templates")
# What a model may write, and no reward should stumble over.
NONSENSE = ["", " ", "[" * 100_000, "{" * 100_000, "9" * 10_000, "null", "\ud800", "\x00"]
every_template = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def judge() -> Iterator[PoliteJudge]:
    judge = PoliteJudge("")
    yield judge
    judge.close()


def read_rows(name: str, split: str) -> list[dict[str, object]]:
    text = (PACKAGE / name / "dataset" / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_folder_of_the_package_is_offered() -> None:
    folders = {entry.name for entry in PACKAGE.iterdir() if (entry / "environment.py").is_file()}

    assert folders == set(NAMES)


@every_template
def test_a_template_has_no_fault(
    name: str, tmp_path: Path, options: HostOptions, judge: PoliteJudge
) -> None:
    folder = write_template(name, tmp_path / "mine", rows=8, judge_url=judge.url)

    report = check_folder(folder, options, secrets=secrets_of(name))

    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []


@every_template
@pytest.mark.parametrize("algorithm", ["sft", "grpo"])
def test_a_template_says_how_to_train_on_it(name: str, algorithm: str, tmp_path: Path) -> None:
    folder = write_template(name, tmp_path / "mine", rows=8, judge_url="http://127.0.0.1:1")
    text = (folder / "configs" / f"{algorithm}.toml").read_text()

    spec = parse_train_spec(parse_document(text))

    check_train_spec(spec, SMOLLM2_135M)
    assert spec.algorithm == algorithm


@every_template
def test_no_question_of_a_template_is_asked_twice(name: str) -> None:
    train, heldout = read_rows(name, "train"), read_rows(name, "heldout")

    assert (len(train), len(heldout)) == (600, 120)
    assert len({str(row["input"]).casefold() for row in train + heldout}) == 720


@every_template
def test_the_rows_of_a_template_are_made_by_its_script(name: str, tmp_path: Path) -> None:
    write_environment(find_template(name), tmp_path, name="mine", org="local")
    shipped = {path: path.read_bytes() for path in (tmp_path / "dataset").iterdir()}
    for path in shipped:
        path.unlink()

    subprocess.run([sys.executable, "-B", tmp_path / "make_data.py"], check=True)

    assert {path: path.read_bytes() for path in (tmp_path / "dataset").iterdir()} == shipped


@every_template
def test_gold_answers_of_a_template_get_the_whole_reward(
    name: str, tmp_path: Path, options: HostOptions, judge: PoliteJudge
) -> None:
    with open_template(name, tmp_path / "mine", options, judge_url=judge.url) as host:
        for example in host.examples()[::25]:
            gold = host.sft_completion(example)
            transcript = play(host, example, saying(*spoken(gold)))
            (score,) = score_episodes(host, example, [transcript])

            assert (score.reward, score.success, transcript.ending) == (1.0, True, Ending.DONE)
            assert transcript.messages[len(transcript.prompt) :] == gold


@every_template
def test_a_template_has_held_out_cases(
    name: str, tmp_path: Path, options: HostOptions, judge: PoliteJudge
) -> None:
    with open_template(name, tmp_path / "mine", options, judge_url=judge.url) as host:
        suites = host.suites()
        for index, row in enumerate(read_rows(name, "heldout")[:5]):
            case = suites[0].cases[index]
            transcript = play(host, case, saying(*spoken(target_messages(row["output"]))))
            episode = transcript.episode() if host.multi_turn else None
            score = host.score_case("heldout", index, transcript.response_text, episode)
            assert score.success, score.error

    assert suites[0].name == "heldout"
    assert {len(suite.cases) for suite in suites} == {120}


@every_template
def test_a_template_can_score_whatever_a_model_writes(
    name: str, tmp_path: Path, options: HostOptions, judge: PoliteJudge
) -> None:
    with open_template(name, tmp_path / "mine", options, judge_url=judge.url) as host:
        example = host.examples()[0]
        for text in NONSENSE:
            transcript = play(host, example, saying(text))
            (score,) = score_episodes(host, example, [transcript])
            assert (score.reward, score.success) == (0.0, False), (text[:10], score.error)


@every_template
def test_a_template_takes_the_names_it_is_given(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"

    written = write_environment(find_template(name), folder, name="mine", org="acme")

    manifest = tomllib.loads((folder / "environment.toml").read_text())
    config = tomllib.loads((folder / "configs" / "sft.toml").read_text())
    assert manifest["environment"]["name"] == "mine"
    assert config["environment"]["id"] == "acme/mine"
    assert (folder / "README.md").read_text().startswith("# mine\n")
    assert written == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_folder_that_holds_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "work.txt").write_text("mine")

    with pytest.raises(FolderNotEmpty):
        write_environment(TEMPLATES[0], tmp_path, name="mine", org="local")


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(TemplateNotFound) as failure:
        find_template("singel-turn")

    assert failure.value.hint == "Did you mean `single-turn`?"


def test_a_template_that_resembles_none_is_answered_with_all() -> None:
    with pytest.raises(TemplateNotFound) as failure:
        find_template("reinforcement")

    assert all(template.summary in str(failure.value.hint) for template in TEMPLATES)


def test_a_name_that_cannot_be_published_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRef):
        write_environment(TEMPLATES[0], tmp_path / "mine", name="my task", org="local")
