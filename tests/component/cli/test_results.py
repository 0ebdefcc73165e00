"""eval and results with a real hub: what is kept, under which version, and how it is shown."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from hub_server.evaluations.service import MAX_BYTES
from hub_server.models import Evaluation
from tests.component.cli.conftest import Freesolo, Result
from tests.component.cli.consumers import publish_folder, write_math
from tests.component.cli.models import Models, answering
from tests.hubs import LiveHub, resources_of

SUITE = """
from environment import load_environment
from freesolo.datasets import load_dataset
from freesolo.environments import EnvironmentEvalSuite


def load_evaluations():
    environment = load_environment()
    cases = load_dataset(environment.dataset).examples
    return EnvironmentEvalSuite(environment, cases, name="sums")
"""
RUN = "run-0123456789"
REVISION = f"{RUN}@final.{'a' * 40}"


def right(prompt: str) -> str:
    """Add as it should be done."""
    return str(int(prompt.removesuffix(" + 1")) + 1)


def half_right(prompt: str) -> str:
    """Add only what is small."""
    return right(prompt) if int(prompt[0]) < 4 else "too many"


@pytest.fixture
def models() -> Iterator[Models]:
    with answering({"right": right, "half": half_right, RUN: right, REVISION: right}) as models:
        yield models


@pytest.fixture
def hub(
    models: Models,
    start_live_hub: Callable[..., LiveHub],
    freesolo: Freesolo,
    monkeypatch: pytest.MonkeyPatch,
) -> LiveHub:
    """A hub whose gateway is `models`, and the command line logged in to it."""
    hub = start_live_hub(gateway_url=models.url)
    monkeypatch.setenv("FREESOLO_HUB_URL", hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", hub.user_key)
    return hub


@pytest.fixture
def math(hub: LiveHub) -> Path:
    """An environment with a suite of eight sums, published as local/math 1.0."""
    folder = write_math()
    (folder / "evaluations.py").write_text(SUITE)
    publish_folder(hub, folder)
    return folder


def evaluate(freesolo: Freesolo, target: str, environment: object, *options: object) -> Result:
    """Evaluate a model, as JSON."""
    result = freesolo("eval", target, environment, *options, "--json")
    assert result.code == 0, result.err
    return result


@pytest.mark.parametrize("named", ["local/math", "sources/math-1.0"])
def test_results_are_kept_with_the_version_whose_files_were_used(
    freesolo: Freesolo, math: Path, named: str
) -> None:
    kept = evaluate(freesolo, "half", named).document
    (listed,) = freesolo("results", "local/math", "--json").document["evaluations"]

    assert listed["id"] == kept["evaluation"]
    assert listed["tree_digest"] == kept["environment"]["tree_digest"]
    assert (listed["ref"], listed["version"], listed["target"]) == ("local/math", "1.0", "half")
    (suite,) = listed["suites"]
    assert (suite["name"], suite["passed"], suite["total"], suite["pass_rate"]) == (
        "sums",
        4,
        8,
        0.5,
    )
    shown = {key: value for key, value in kept["suites"][0].items() if key != "cases"}
    assert suite == shown


def test_files_that_were_never_published_have_no_results(freesolo: Freesolo, math: Path) -> None:
    (math / "README.md").write_text("Another tree.")
    result = evaluate(freesolo, "half", math)
    assert result.document["evaluation"] is None
    assert f"freesolo publish {math}" in result.err
    assert freesolo("results", math, "--json").document == {"evaluations": []}


def test_nothing_is_kept_where_that_is_not_wanted(freesolo: Freesolo, math: Path) -> None:
    assert evaluate(freesolo, "half", math, "--no-store").document["evaluation"] is None
    assert freesolo("results", math, "--json").document == {"evaluations": []}


def test_a_stored_evaluation_is_shown_with_its_cases(freesolo: Freesolo, math: Path) -> None:
    kept = evaluate(freesolo, "half", math, "--temperature", 0.5, "--seed", 7).document
    shown = freesolo("results", "show", kept["evaluation"], "--json").document
    for_people = freesolo("results", "show", kept["evaluation"])

    assert shown["settings"] == {
        "temperature": 0.5,
        "max_tokens": 256,
        "samples": 1,
        "seed": 7,
        "limit": None,
        "params": {},
    }
    cases = [
        {key: value for key, value in case.items() if key != "suite"} for case in shown["cases"]
    ]
    assert cases == [
        {key: value for key, value in case.items() if key != "passed"}
        for case in kept["suites"][0]["cases"]
    ]
    assert "50.0% (4 of 8)" in for_people.out
    assert "too many" in for_people.out
    assert "temperature 0.5" in for_people.out


def test_the_newest_of_each_model_and_way_to_ask_is_listed_version_by_version(
    freesolo: Freesolo, hub: LiveHub, math: Path
) -> None:
    for _ in range(2):
        evaluate(freesolo, "half", math)
    evaluate(freesolo, "half", math, "--limit", 4)
    evaluate(freesolo, "right", math)
    newer = write_math("1.10")
    (newer / "evaluations.py").write_text(SUITE)
    publish_folder(hub, newer)
    evaluate(freesolo, "right", "local/math")

    table = freesolo("results", "local/math").out
    assert table.index("local/math 1.10") < table.index("local/math 1.0 ")
    assert "100.0% (51.0% to 100.0%) of 4" in table
    assert "50.0% (21.5% to 78.5%) of 8" in table
    assert "limit 4" in table
    assert len(freesolo("results", "local/math", "--json").document["evaluations"]) == 4
    everything = freesolo("results", "--json", "local/math", "--all").document["evaluations"]
    assert [each["target"] for each in everything] == ["right", "right", *["half"] * 3]


def test_two_models_are_compared_now_or_later(freesolo: Freesolo, math: Path) -> None:
    now = freesolo("eval", "--compare", "half", "right", math, "--json").document
    ids = [now[side]["evaluation"] for side in ("first", "second")]
    later = freesolo("results", "compare", *ids, "--json").document

    assert later["comparisons"] == now["comparisons"]
    assert [now["comparisons"][0][key] for key in ("gained", "lost", "p_value")] == [4, 0, 0.125]


def test_results_of_other_files_are_not_compared(
    freesolo: Freesolo, hub: LiveHub, math: Path
) -> None:
    first = evaluate(freesolo, "half", math).document["evaluation"]
    newer = write_math("1.1")
    (newer / "evaluations.py").write_text(SUITE)
    publish_folder(hub, newer)
    second = evaluate(freesolo, "half", newer).document["evaluation"]
    refused = freesolo("results", "compare", first, second, "--json")
    assert (refused.code, refused.error["code"]) == (2, "invalid_input")


@pytest.mark.parametrize("command", [("show",), ("rm", "--yes"), ("compare", "local/math")])
def test_what_is_no_id_is_refused_as_it_was_typed(
    freesolo: Freesolo, command: tuple[str, ...]
) -> None:
    refusal = freesolo("results", *command, "local/math", "--json")
    assert refusal.code == 2
    assert "'local/math' is not a valid UUID" in refusal.error["message"]


def test_a_stored_evaluation_is_removed(freesolo: Freesolo, math: Path) -> None:
    kept = evaluate(freesolo, "half", math).document["evaluation"]
    assert freesolo("results", "rm", kept, "--yes").code == 0
    gone = freesolo("results", "show", kept, "--json")
    assert (gone.code, gone.error["code"]) == (3, "evaluation_not_found")


def test_results_that_cannot_be_kept_are_shown_all_the_same(
    freesolo: Freesolo, hub: LiveHub, math: Path
) -> None:
    evaluate(freesolo, "half", math)
    with resources_of(hub.app).sessions.begin() as session:
        session.execute(update(Evaluation).values(size=MAX_BYTES))
    result = freesolo("eval", "right", math, "--json")
    assert (result.code, result.error["code"]) == (6, "quota_exceeded")
    assert result.document["suites"][0]["passed"] == 8


def test_the_state_that_answered_is_kept(freesolo: Freesolo, math: Path, models: Models) -> None:
    models.fingerprint = "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"
    kept = evaluate(freesolo, "half", math).document
    (listed,) = freesolo("results", math, "--json").document["evaluations"]
    assert listed["revision"] == kept["revision"] == models.fingerprint


def test_what_an_endpoint_says_of_itself_is_kept_with_its_address(
    freesolo: Freesolo, math: Path, models: Models
) -> None:
    models.fingerprint = "fp_1234"
    evaluate(freesolo, "half", math, "--endpoint", models.endpoint)
    (listed,) = freesolo("results", math, "--json").document["evaluations"]
    assert (listed["endpoint"], listed["revision"]) == (models.endpoint, "fp_1234")


def test_an_endpoint_that_changes_is_no_one_state(freesolo: Freesolo, math: Path) -> None:
    states = iter(["fp_1", "fp_2"] * 4)

    def changing(prompt: str) -> str:
        others.fingerprint = next(states)
        return right(prompt)

    with answering(changing) as others:
        result = evaluate(freesolo, "m", math, "--endpoint", others.endpoint)
    # Others promise nothing of what their fingerprints mean.
    assert result.document["revision"] is None


def test_an_alias_of_ours_that_moves_spoils_the_evaluation(
    freesolo: Freesolo,
    start_live_hub: Callable[..., LiveHub],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = iter([REVISION, REVISION.replace("a" * 40, "b" * 40)] * 4)

    def moving(prompt: str) -> str:
        gateway.fingerprint = next(states)
        return right(prompt)

    with answering(moving) as gateway:
        hub = start_live_hub(gateway_url=gateway.url)
        monkeypatch.setenv("FREESOLO_HUB_URL", hub.url)
        monkeypatch.setenv("FREESOLO_API_KEY", hub.user_key)
        folder = write_math()
        (folder / "evaluations.py").write_text(SUITE)
        publish_folder(hub, folder)
        result = freesolo("eval", RUN, folder, "--concurrency", 1, "--json")

    assert (result.code, result.error["code"]) == (4, "model_moved_conflict")
    assert freesolo("results", folder, "--json").document == {"evaluations": []}


def test_one_revision_is_evaluated_by_its_name_and_must_be_what_answers(
    freesolo: Freesolo, math: Path, models: Models
) -> None:
    models.fingerprint = REVISION
    served = freesolo("eval", REVISION, math, "--no-store", "--json")
    models.fingerprint = REVISION.replace("a" * 40, "b" * 40)
    refused = freesolo("eval", REVISION, math, "--no-store", "--json")

    assert (served.code, served.document["revision"]) == (0, REVISION)
    assert {request["model"] for request in models.requests} == {REVISION}
    assert (refused.code, refused.error["code"]) == (4, "model_moved_conflict")
    assert f"freesolo deploy {REVISION}" in refused.error["hint"]


def test_a_checkpoint_that_was_never_saved_is_not_asked(freesolo: Freesolo, math: Path) -> None:
    refused = freesolo("eval", f"{RUN}/step-2", math, "--json")
    assert (refused.code, refused.error["code"]) == (3, "run_not_found")
