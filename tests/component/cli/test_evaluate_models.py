"""eval: whom it asks, how, and what becomes of answers of every kind."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.component.cli.models import Models, Said, answering
from tests.environment_folders import SOUND, write_environment

# The answer is a number; each guess is told to be too low until it is right.
GAME = """
from freesolo.datasets import TaskExample
from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult


class Count(EnvironmentMultiTurn):
    dataset = [{"input": "Count to 2.", "output": "2"}, {"input": "Count to 9.", "output": "9"}]

    def start_episode(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def max_episode_turns(self, example):
        return 3

    def step_episode(self, example, messages, assistant_response):
        if assistant_response == "break":
            raise RuntimeError("the board is gone")
        done = assistant_response == example.output
        reply = () if done else ({"role": "user", "content": f"after {assistant_response}"},)
        return EnvironmentStepResult(done=done, messages=reply)

    def score_episode(self, example, episode):
        turns = sum(turn.role == "assistant" for turn in episode.turns)
        return RewardResult(1 / turns if episode.response_text == example.output else 0.0)


def load_environment():
    return Count()
"""
GAMES = """
from environment import load_environment
from freesolo.datasets import load_dataset
from freesolo.environments import EvalSuite


class Games(EvalSuite):
    grades_episodes = True
    name = "games"

    def cases(self):
        return load_dataset(load_environment().dataset).examples

    def score(self, case, response_text, state):
        return load_environment().score_episode(case, state)


def load_evaluations():
    return Games()
"""


# Suites in the shape of the public command line.
CASES = """
from flash.envs.evaluations import BaseEvalSuite, EvalCase, EvalResult


class Plain(BaseEvalSuite):
    name = "plain"

    def cases(self):
        return [EvalCase(input="1 + 1", expected="2", id="first"), EvalCase(input="2 + 1")]

    def score(self, case, response):
        passed = response == case.expected
        return EvalResult(case.id, passed, 0.5, response)


class Whole(Plain):
    name = "whole"
    grades_episodes = True

    def score(self, case, response, state):
        return float(len(state.messages))


def load_evaluations(environment):
    return [Plain(), Whole()]
"""


@pytest.fixture
def dates(freesolo: Freesolo) -> Path:
    """An environment with a held-out suite, on a machine without any hub."""
    assert freesolo("init", "dates").code == 0
    return Path("dates")


@pytest.fixture
def game() -> Path:
    return write_environment(Path("game"), GAME, evaluations=GAMES)


def gold(folder: Path) -> dict[str, str]:
    """Map the held-out rows' inputs to their gold answers."""
    rows = map(json.loads, (folder / "dataset" / "heldout.jsonl").read_text().splitlines())
    return {row["input"]: row["output"] for row in rows}


def knowing(folder: Path, form: str = "{}") -> Callable[[str], str]:
    """Return a model that knows every answer, and says it in a form."""
    known = gold(folder)
    return lambda prompt: form.format(next(known[text] for text in known if text in prompt))


def test_any_endpoint_is_asked_with_its_own_key_and_no_hub(
    freesolo: Freesolo, dates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHERS_KEY", "sk-others")
    with answering(knowing(dates)) as models:
        result = freesolo(
            *("eval", "gpt-x", dates, "--limit", 3, "--json"),
            *("--endpoint", models.endpoint, "--endpoint-key-env", "OTHERS_KEY"),
        )

    assert result.code == 0, result.err
    assert models.keys == {"Bearer sk-others"}
    assert {request["model"] for request in models.requests} == {"gpt-x"}
    assert result.document["suites"][0]["passed"] == 3
    assert result.document["evaluation"] is None
    assert "will not be stored" in result.err
    assert "sk-others" not in result.out + result.err


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ((401, "invalid_api_key"), 5, "--endpoint-key-env"),
        ((404, "model_not_found"), 3, "no model 'm'"),
        ((400, "bad_request"), 8, "bad_request!"),
        ((500, "server_error"), 8, "server_error!"),
        ((429, "rate_limit_exceeded"), 8, "rate_limit_exceeded!"),
    ],
)
def test_why_an_endpoint_does_not_answer_is_told(
    freesolo: Freesolo, dates: Path, said: tuple[int, str], code: int, words: str
) -> None:
    with answering(lambda _: said) as models:
        result = freesolo("eval", "m", dates, "--limit", 1, "--endpoint", models.endpoint, "--json")
    assert result.code == code
    assert words in json.dumps(result.error)


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:pw@host/v1", "http://host/v1?k=s"])
def test_what_cannot_be_an_endpoint_is_refused(freesolo: Freesolo, dates: Path, url: str) -> None:
    result = freesolo("eval", "m", dates, "--endpoint", url, "--json")
    assert (result.code, result.error["code"]) == (2, "invalid_input")
    assert "pw" not in result.err


def test_an_address_that_speaks_otherwise_is_no_endpoint(freesolo: Freesolo, dates: Path) -> None:
    with answering(lambda _: {"role": "none"}) as models:
        good = freesolo("eval", "m", dates, "--limit", 1, "--endpoint", models.endpoint, "--json")
        lost = freesolo("eval", "m", dates, "--limit", 1, "--endpoint", models.url, "--json")
    assert good.document["suites"][0]["cases"][0]["answer"] == ""
    assert lost.code == 3


def test_a_server_that_wants_the_newer_name_of_a_limit_gets_it(
    freesolo: Freesolo, dates: Path
) -> None:
    knows = knowing(dates)

    def answer(prompt: str) -> Said:
        if "max_tokens" in models.requests[-1]:
            return 400, "use max_completion_tokens"
        return knows(prompt)

    with answering(answer) as models:
        result = freesolo(
            *("eval", "m", dates, "--limit", 3, "--max-tokens", 40, "--concurrency", 1),
            *("--endpoint", models.endpoint, "--json"),
        )

    assert result.document["suites"][0]["passed"] == 3
    limits = [request.get("max_completion_tokens") for request in models.requests]
    assert limits == [None, 40, 40, 40]


def test_an_answer_in_parts_is_what_of_them_is_text(freesolo: Freesolo, dates: Path) -> None:
    knows = knowing(dates)

    def answer(prompt: str) -> Said:
        thought = {"type": "thinking", "thinking": "hm"}
        return {"content": [thought, {"type": "text", "text": knows(prompt)}]}

    with answering(answer) as models:
        models.fingerprint = {"of": "no kind that OpenAI sends"}
        result = freesolo("eval", "m", dates, "--limit", 2, "--endpoint", models.endpoint, "--json")
    assert result.document["suites"][0]["passed"] == 2
    assert result.document["revision"] is None


def test_an_answer_without_end_is_none(freesolo: Freesolo, dates: Path) -> None:
    with answering(lambda _: "a" * (2 << 20)) as models:
        result = freesolo("eval", "m", dates, "--limit", 1, "--endpoint", models.endpoint, "--json")
    assert result.code == 8
    assert "more than the 2097152 bytes" in result.error["hint"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_half_a_character_in_an_answer_is_shown_as_such(
    freesolo: Freesolo, dates: Path, options: tuple[str, ...]
) -> None:
    with answering(lambda _: "\ud800 indeed") as models:
        result = freesolo(
            *("eval", "m", dates, "--limit", 1, "--endpoint", models.endpoint, *options)
        )
    assert result.code == 0, result.err
    assert r"\ud800 indeed" in result.out


@pytest.mark.parametrize(
    "said",
    [
        lambda text: f"<think>hm, perhaps 1999</think>\n{text}",
        lambda text: {"content": text, "reasoning_content": "hm, perhaps 1999"},
        lambda text: {"content": text, "reasoning": "hm, perhaps 1999"},
    ],
    ids=["tags", "reasoning_content", "reasoning"],
)
def test_thinking_is_kept_from_the_score(
    freesolo: Freesolo, dates: Path, said: Callable[[str], str]
) -> None:
    model = knowing(dates)
    with answering(lambda prompt: said(model(prompt))) as models:
        result = freesolo("eval", "m", dates, "--limit", 2, "--endpoint", models.endpoint, "--json")
    (suite,) = result.document["suites"]
    assert suite["passed"] == 2
    assert "perhaps" not in str(suite["cases"])


def test_several_answers_are_drawn_with_seeds_of_their_own(freesolo: Freesolo, dates: Path) -> None:
    said = iter(["no idea"] * 3)
    model, lock = knowing(dates), threading.Lock()

    def answer(prompt: str) -> str:
        with lock:
            return next(said, None) or model(prompt)

    with answering(answer) as models:
        result = freesolo(
            *("eval", "m", dates, "--limit", 2, "--samples", 3, "--temperature", 0.7),
            *("--seed", 40, "--concurrency", 1, "--endpoint", models.endpoint, "--json"),
        )

    assert [request["seed"] for request in models.requests] == [40, 41, 42] * 2
    (suite,) = result.document["suites"]
    assert [suite[key] for key in ("case_count", "samples", "total", "passed")] == [2, 3, 6, 3]
    assert (suite["pass_rate"], suite["pass_any"]) == (0.5, 0.5)
    assert [case["sample"] for case in suite["cases"]] == [0, 1, 2] * 2


def test_no_seed_is_sent_unasked(freesolo: Freesolo, dates: Path) -> None:
    with answering(knowing(dates)) as models:
        freesolo("eval", "m", dates, "--limit", 1, "--endpoint", models.endpoint)
    assert "seed" not in models.requests[0]


def test_games_are_played_to_their_end(freesolo: Freesolo, game: Path) -> None:
    counting = {"Count to 2.": "1", "after 1": "2", "Count to 9.": "1", "after 2": "3"}
    with answering(counting.__getitem__) as models:
        result = freesolo("eval", "m", game, "--endpoint", models.endpoint, "--json")

    assert result.code == 0, result.err
    won, lost = result.document["suites"][0]["cases"]
    assert (won["outcome"], won["score"], won["answer"]) == ("passed", 0.5, "2")
    assert (lost["outcome"], lost["score"], lost["answer"]) == ("failed", 0.0, "3")
    assert max(len(request["messages"]) for request in models.requests) == 5


def test_a_game_that_breaks_is_unscorable_and_the_others_go_on(
    freesolo: Freesolo, game: Path
) -> None:
    said = {"Count to 2.": "2", "Count to 9.": "break"}
    with answering(said.__getitem__) as models:
        result = freesolo("eval", "m", game, "--endpoint", models.endpoint, "--json")
    (suite,) = result.document["suites"]
    assert (suite["passed"], suite["unscorable"], suite["unanswered"]) == (1, 1, 0)
    assert "the board is gone" in suite["cases"][1]["error"]


def test_suites_of_the_public_command_line_are_asked_and_graded(freesolo: Freesolo) -> None:
    folder = write_environment(Path("sums"), SOUND, evaluations=CASES)
    with answering(lambda _: "2") as models:
        result = freesolo("eval", "m", folder, "--endpoint", models.endpoint, "--json")
    assert result.code == 0, result.err
    plain, whole = result.document["suites"]
    assert [case["id"] for case in plain["cases"]] == ["first", "example_000001"]
    assert [case["passed"] for case in plain["cases"]] == [True, False]
    assert [case["score"] for case in whole["cases"]] == [2.0, 2.0]


def test_whole_episodes_are_written_to_a_file(freesolo: Freesolo, game: Path) -> None:
    counting = {"Count to 2.": "1", "after 1": "2", "Count to 9.": "9"}
    with answering(counting.__getitem__) as models:
        freesolo("eval", "m", game, "--endpoint", models.endpoint, "--out", "answers.jsonl")
    first, second = map(json.loads, Path("answers.jsonl").read_text().splitlines())
    assert (first["suite"], first["id"], first["passed"]) == ("games", "example_000000", True)
    assert [turn["action"]["completion"] for turn in first["transcript"]["turns"]] == ["1", "2"]
    assert second["transcript"]["ending"] == "done"


def test_nobody_is_asked_what_can_then_not_be_written(freesolo: Freesolo, dates: Path) -> None:
    with answering(knowing(dates)) as models:
        result = freesolo(
            *("eval", "m", dates, "--endpoint", models.endpoint, "--out", "missing/answers.jsonl")
        )
    assert result.code == 2
    assert "No file can be written to missing" in result.err
    assert models.requests == []


def test_how_the_code_was_fenced_in_is_told(freesolo: Freesolo, dates: Path) -> None:
    with answering(knowing(dates)) as models:
        result = freesolo(
            *("eval", "m", dates, "--limit", 1, "--endpoint", models.endpoint, "--sandbox", "off")
        )
    assert "Its code is fenced in by: own-session" in result.err


def test_a_model_that_answers_nothing_is_soon_given_up(freesolo: Freesolo, dates: Path) -> None:
    with answering(lambda _: (400, "bad_request")) as models:
        result = freesolo("eval", "m", dates, "--endpoint", models.endpoint, "--json")
    assert result.code == 8
    assert "none of the first 20" in result.error["message"]
    assert len(models.requests) < 60


def test_interrupted_it_leaves_at_once_and_keeps_nothing(freesolo: Freesolo, dates: Path) -> None:
    released = threading.Event()
    main = threading.get_ident()

    def answer(_: str) -> str:
        signal.pthread_kill(main, signal.SIGINT)
        released.wait(60)
        return "too late"

    with answering(answer) as models:
        result = freesolo(
            *("eval", "m", dates, "--endpoint", models.endpoint, "--out", "answers.jsonl"),
            *("--concurrency", 1),
        )
        released.set()
    assert result.code == 130
    assert list(Path().glob("*answers*")) == []


def test_two_models_are_compared_case_by_case(freesolo: Freesolo, dates: Path) -> None:
    knows, known = knowing(dates), list(gold(dates))[:8]

    def weaker(prompt: str) -> str:
        return knows(prompt) if known[0] in prompt else "no idea"

    with answering({"weak": weaker, "strong": knows}) as models:
        result = freesolo(
            *("eval", "--compare", "weak", "strong", dates, "--limit", 8),
            *("--endpoint", models.endpoint, "--json"),
        )

    assert result.code == 0, result.err
    assert [result.document[side]["target"] for side in ("first", "second")] == ["weak", "strong"]
    (found,) = result.document["comparisons"]
    assert [found[key] for key in ("cases", "gained", "lost")] == [8, 7, 0]
    assert found["difference"] == 7 / 8
    assert found["p_value"] == 2 / 2**7
    assert len(found["changes"]) == 7


def test_a_comparison_is_shown_with_the_cases_that_changed(freesolo: Freesolo, dates: Path) -> None:
    with answering({"weak": lambda _: "no\x1b[2J idea", "strong": knowing(dates)}) as models:
        result = freesolo(
            *("eval", "--compare", "weak", "strong", dates, "--limit", 6),
            *("--endpoint", models.endpoint),
        )
    assert "strong against weak, 6 cases" in result.out
    assert result.out.count("gained") == 7
    # What a model writes is shown, never obeyed.
    assert "\x1b[2J" not in result.out


@pytest.mark.parametrize("targets", [(), ("a", "b"), ("a", "--compare", "b", "c")])
def test_one_model_is_evaluated_or_two_are_compared(
    freesolo: Freesolo, dates: Path, targets: tuple[str, ...]
) -> None:
    result = freesolo("eval", *targets, dates, "--json")
    assert result.code == 2
    assert "--compare A B" in result.error["hint"]


def test_secrets_of_the_environment_come_from_this_machine(
    freesolo: Freesolo, game: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = game / "environment.py"
    text = code.read_text().replace("1 / turns", "float(__import__('os').environ['JUDGE'])")
    code.write_text(text)
    manifest = game / "environment.toml"
    manifest.write_text(f'{manifest.read_text()}secrets = ["JUDGE"]\n')

    def run(models: Models) -> tuple[int, str]:
        result = freesolo("eval", "m", game, "--limit", 1, "--endpoint", models.endpoint, "--json")
        return result.code, result.out + result.err

    with answering(lambda _: "2") as models:
        code_without, words = run(models)
        monkeypatch.setenv("JUDGE", "0.25")
        code_with, out = run(models)

    assert code_without == 2
    assert "JUDGE" in words
    assert code_with == 0
    assert '"score": 0.25' in out
