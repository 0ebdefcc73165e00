"""The bridge to verifiers, with the library itself in a virtual environment of its own.

Run by hand, `pytest benchmarks/bridges`, since that takes a minute to make: a hundred packages.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest

from freesolo.environments import EnvironmentEpisode, EnvironmentTurn
from freesolo.package.bridges.verifiers import find_environment
from freesolo.package.templates import write_environment
from freesolo.runtime.client import EnvironmentHost, HostOptions, SandboxMode, open_host
from freesolo.runtime.episodes import play

CASES = Path(__file__).parent / "vf_cases.py"


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> HostOptions:
    return HostOptions(tmp_path_factory.mktemp("cache"), sandbox=SandboxMode.OFF)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cases as an environment of ours."""
    folder = tmp_path_factory.mktemp("bridged") / "cases"
    write_environment(find_environment(str(CASES)), folder, name="cases", org="local")
    return folder


@pytest.fixture(scope="module")
def hosts(folder: Path, options: HostOptions) -> Iterator[dict[str, EnvironmentHost]]:
    """A host for each of the cases."""
    with ExitStack() as opened:
        yield {
            kind: opened.enter_context(open_host(folder, options, params={"kind": kind}))
            for kind in ("sums", "guessing", "broken")
        }


def test_rows_have_the_librarys_prompt_and_a_gold_answer_as_its_parser_reads_it(
    hosts: dict[str, EnvironmentHost],
) -> None:
    row = hosts["sums"].examples()[0]

    assert hosts["sums"].start_episode(row) == [
        {"role": "system", "content": "Use tags."},
        {"role": "user", "content": "0 + 1?"},
    ]
    (gold,) = hosts["sums"].sft_completion(row)
    assert "<answer>\n1\n</answer>" in gold["content"]


def test_a_rubric_scores_by_its_weights_and_its_functions_are_metrics(
    hosts: dict[str, EnvironmentHost],
) -> None:
    row = hosts["sums"].examples()[0]

    right, wrong = hosts["sums"].score_responses(row, ["<answer>1</answer>", "<answer>2</answer>"])

    assert (right.reward, right.success) == (2.0, True)
    assert (wrong.reward, wrong.success) == (0.0, False)


def test_an_evaluation_dataset_is_the_held_out_suite(hosts: dict[str, EnvironmentHost]) -> None:
    (suite,) = hosts["sums"].suites()

    assert [case.messages[-1]["content"] for case in suite.cases][:2] == ["100 + 1?", "101 + 1?"]
    assert hosts["guessing"].suites() == []


def test_an_environment_answers_each_action_and_says_its_last_word(
    hosts: dict[str, EnvironmentHost],
) -> None:
    host, actions = hosts["guessing"], iter(["5", "1"])

    transcript = play(host, host.examples()[0], lambda _: next(actions))

    assert [said["content"] for said in transcript.messages] == [
        *("0 + 1?", "5", "Wrong, 1 times.", "1", "Right.")
    ]


def test_a_stop_condition_ends_an_episode(hosts: dict[str, EnvironmentHost]) -> None:
    host = hosts["guessing"]

    transcript = play(host, host.examples()[0], lambda _: "stop")

    assert list(transcript.actions) == ["stop"]


def test_an_episode_ends_after_the_librarys_number_of_turns(
    hosts: dict[str, EnvironmentHost],
) -> None:
    host = hosts["guessing"]

    transcript = play(host, host.examples()[0], lambda _: "7")

    assert list(transcript.actions) == ["7", "7", "7"]


def test_an_episode_is_scored_by_all_that_was_said(hosts: dict[str, EnvironmentHost]) -> None:
    host = hosts["guessing"]
    row = host.examples()[0]
    turns = tuple(EnvironmentTurn("assistant", text) for text in ("5", "1"))

    (found,) = host.score_episodes(row, [EnvironmentEpisode((), "1", turns)])
    (lost,) = host.score_episodes(row, [EnvironmentEpisode((), "5", turns[:1])])

    assert (found.reward, lost.reward) == (1.0, 0.0)


def test_what_a_reward_function_raises_is_no_zero(hosts: dict[str, EnvironmentHost]) -> None:
    (score,) = hosts["broken"].score_responses(hosts["broken"].examples()[0], ["1"])

    assert score.reward is None
    assert score.error is not None
    assert "ValueError: no such thing" in score.error.message


def test_what_has_no_place_here_is_refused_with_the_reason(
    hosts: dict[str, EnvironmentHost], folder: Path
) -> None:
    script = """
        import sys
        sys.path += [".", "source"]
        from refusals import check_playable
        from vf_cases import refused
        for reason, environment in refused().items():
            try:
                check_playable(environment)
            except NotImplementedError as error:
                assert reason in str(error), (reason, error)
            else:
                raise AssertionError(reason)
    """
    command = [str(hosts["sums"].python), "-c", dedent(script)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
