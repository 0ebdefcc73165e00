"""eval: answers from a stand-in for hub and gateway, scored by the real environment."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import BUILDS_ON_TOOLS, publish_folder, write_math, write_tools
from tests.component.cli.models import answering
from tests.hubs import LiveHub


@pytest.fixture
def dates(freesolo: Freesolo, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREESOLO_API_KEY", "fslo_any")
    assert freesolo("init", "dates").code == 0
    return Path("dates")


def gold(folder: Path) -> dict[str, str]:
    """Map the held-out rows' inputs to their gold answers."""
    rows = map(json.loads, (folder / "dataset" / "heldout.jsonl").read_text().splitlines())
    return {row["input"]: row["output"] for row in rows}


def test_right_wrong_and_missing_answers_are_counted_apart(
    freesolo: Freesolo, dates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list(gold(dates).items())
    (right_input, right), (long_input, _) = known[0], known[1]

    def answer(prompt: str) -> str | tuple[int, str]:
        if long_input in prompt:
            return 400, "context_length_exceeded"
        return right if right_input in prompt else "no idea"

    with answering(answer) as models:
        monkeypatch.setenv("FREESOLO_HUB_URL", models.url)
        result = freesolo("eval", "model", dates, "--limit", "4", "--json")
    assert result.code == 0
    (suite,) = result.document["suites"]
    assert (suite["total"], suite["passed"], suite["errors"]) == (4, 1, 1)
    assert suite["mean_score"] == pytest.approx(1 / 3)
    assert [case["passed"] for case in suite["cases"]] == [True, False, False, False]


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (503, "unavailable_engine", 8),
        (404, "model_not_found", 3),
        (401, "unauthorized", 5),
        (403, "forbidden", 5),
    ],
)
def test_a_model_that_never_answers_is_told_by_the_exit_code(
    freesolo: Freesolo,
    dates: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    error: str,
    code: int,
) -> None:
    with answering(lambda _prompt: (status, error)) as models:
        monkeypatch.setenv("FREESOLO_HUB_URL", models.url)
        result = freesolo("eval", "model", dates, "--limit", "2", "--json")
    assert result.code == code
    assert error in json.dumps(result.error)


def test_a_reward_that_always_raises_is_its_authors_to_mend(
    freesolo: Freesolo, dates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (dates / "environment.py").open("a") as file:
        file.write("\n\ndef broken(*_):\n    raise RuntimeError('mine')\n\n\n")
        file.write("Dates.score_response = broken\n")
    with answering(lambda _prompt: "text") as models:
        monkeypatch.setenv("FREESOLO_HUB_URL", models.url)
        result = freesolo("eval", "model", dates, "--limit", "2", "--json")
    assert result.code == 7
    assert "mine" in result.error["hint"]


def test_an_unknown_suite_is_answered_with_those_there_are(
    freesolo: Freesolo, dates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(lambda _prompt: "text") as models:
        monkeypatch.setenv("FREESOLO_HUB_URL", models.url)
        refusal = freesolo("eval", "model", dates, "--suite", "heldot", "--json")
    assert refusal.code == 3
    assert "heldout" in refusal.error["hint"]


def test_parameters_reach_the_environment(
    freesolo: Freesolo, dates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = dates / "environment.py"
    code.write_text(code.read_text().replace('split: str = "train"', "split: str"))
    with answering(lambda _: "no idea") as models:
        monkeypatch.setenv("FREESOLO_HUB_URL", models.url)
        missing = freesolo("eval", "model", dates, "--limit", "1", "--json")
        wrong = freesolo("eval", "model", dates, "--param", "split", "--json")
        (dates / "evaluations.py").write_text(
            "from freesolo.environments import EnvironmentEvalSuite\n"
            "def load_evaluations(environment):\n"
            "    return EnvironmentEvalSuite(environment, environment.dataset[:2], name='given')\n"
        )
        given = freesolo("eval", "model", dates, "--param", "split=heldout", "--json")

    assert (missing.code, wrong.code, given.code) == (7, 2, 0)
    assert [suite["name"] for suite in given.document["suites"]] == ["given"]


@pytest.mark.parametrize("target", ["sources/math-1.0", "local/math"])
def test_an_environment_is_scored_on_what_it_builds_on(
    freesolo: Freesolo,
    start_live_hub: Callable[..., LiveHub],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    with answering(lambda _: "1") as models:
        hub = start_live_hub(gateway_url=models.url)
        monkeypatch.setenv("FREESOLO_HUB_URL", hub.url)
        monkeypatch.setenv("FREESOLO_API_KEY", hub.user_key)
        publish_folder(hub, write_tools(full=0.5))
        folder = write_math(on="local/tools", code=BUILDS_ON_TOOLS)
        (folder / "evaluations.py").write_text(
            "from environment import load_environment\n"
            "from freesolo.datasets import TaskExample\n"
            "from freesolo.environments import EnvironmentEvalSuite\n"
            "def load_evaluations():\n"
            "    cases = [TaskExample(input='1 + 0', output='1', record={})]\n"
            "    return EnvironmentEvalSuite(load_environment(), cases, name='first')\n"
        )
        publish_folder(hub, folder)

        result = freesolo("eval", "model", target, "--json")

    assert result.code == 0, result.err
    assert result.document["suites"][0]["mean_score"] == 0.5
