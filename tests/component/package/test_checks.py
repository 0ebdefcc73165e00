from collections.abc import Callable
from pathlib import Path

import pytest

from freesolo.package import checks
from freesolo.package.checks import Finding, Report, Severity, check_folder, check_gold
from freesolo.runtime.client import HostOptions, open_host
from tests.environment_folders import MANIFEST, SOUND, write_environment

Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path, options: HostOptions) -> Check:
    """Check an environment made of `code`, and of other files by path."""

    def check_code(
        code: str = SOUND,
        *,
        manifest: str | None = MANIFEST,
        name: str | None = None,
        files: dict[str, str] | None = None,
    ) -> Report:
        folder = write_environment(tmp_path / "environment", code, manifest=manifest)
        for path, text in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return check_folder(folder, options, name=name)

    return check_code


def only(report: Report, code: str) -> Finding:
    """Return the one finding of a report with this code."""
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def changed(reward: str) -> str:
    """Return the sound environment with another reward."""
    return SOUND.replace("RewardResult(float(response_text.strip() == example.output))", reward)


def test_a_sound_environment_has_no_error_and_no_warning(check: Check) -> None:
    report = check(files={"README.md": "# A task"})

    assert report.ok
    assert not report.code_failed
    assert [finding.code for finding in report.findings] == ["few_rows", "no_heldout"]
    assert "resource-limits" in report.layers


def test_what_others_would_miss_is_mentioned(check: Check) -> None:
    report = check(manifest='[environment]\nname = "task"\n')

    assert {finding.code for finding in report.findings} == {
        "no_summary",
        "no_license",
        "no_readme",
        "no_heldout",
        "few_rows",
    }


def test_a_folder_without_a_manifest_needs_a_name(check: Check) -> None:
    assert only(check(manifest=None), "manifest_invalid").severity is Severity.ERROR
    assert check(manifest=None, name="task").ok


@pytest.mark.parametrize(
    ("path", "text", "code", "said"),
    [
        ("environment.toml", "[environment]\nnmae = 1", "manifest_invalid", "nmae"),
        ("evaluations.py", "def broken(:\n", "syntax_error", "evaluations.py"),
        ("dataset/train.jsonl", '"a"\n{"input":\n', "dataset_unreadable", "Line 2"),
        ("dataset/more.json", "[", "dataset_unreadable", "more.json"),
        ("configs/sft.toml", "modle = 'x'", "config_invalid", "configs/sft.toml"),
        ("notes.txt", "\nkey = hf_" + 34 * "a", "secret_found", "notes.txt, line 2"),
        ("aux.txt", "", "package_limits", "Windows"),
        ("dataset/deep.json", "[" * 100_000, "dataset_unreadable", "nested too deeply"),
        ("evaluations.py", "-" * 100_000 + "1", "syntax_error", "nested too deeply"),
        (".gitignore", "environment.toml", "manifest_invalid", "left out of the package"),
        (".gitignore", "environment.py", "entry_point_missing", "left out of the package"),
    ],
)
def test_a_fault_in_a_file_is_found_before_any_code_runs(
    check: Check, path: str, text: str, code: str, said: str
) -> None:
    report = check("raise SystemExit\n", files={path: text})

    found = [finding.message for finding in report.findings if finding.code == code]
    assert any(said in message for message in found)
    assert not report.ok
    assert report.layers == ()


@pytest.mark.parametrize("text", ['{"labels": ["a"]}', "[1, 2]", "3"])
def test_json_beside_the_rows_is_only_mentioned(check: Check, text: str) -> None:
    report = check(files={"dataset/labels.json": text})

    assert report.ok
    assert only(report, "not_read").severity is Severity.INFO


def test_a_manifest_that_is_not_utf8_is_found(tmp_path: Path, options: HostOptions) -> None:
    folder = write_environment(tmp_path, SOUND)
    (folder / "environment.toml").write_bytes(b"[environment]\nname = 'caf\xe9'\n")

    assert "not UTF-8" in only(check_folder(folder, options), "manifest_invalid").message


def test_code_is_run_with_only_the_files_that_would_be_packed(check: Check) -> None:
    code = f"open(__file__.replace('environment.py', 'words.txt')).close()\n{SOUND}"

    assert check(code, files={"words.txt": ""}).ok
    report = check(code, files={"words.txt": "", ".gitignore": "*.txt\n"})

    assert "words.txt" in only(report, "env_failed").message
    assert ".gitignore" in only(report, "files_left_out").message


def test_a_missing_entry_point_is_found(tmp_path: Path, options: HostOptions) -> None:
    report = check_folder(tmp_path, options, name="task")

    assert not report.ok
    assert only(report, "entry_point_missing").severity is Severity.ERROR


def test_an_environment_that_does_not_build_shows_the_authors_traceback(check: Check) -> None:
    report = check("def load_environment():\n    return 1 / 0\n")

    finding = only(report, "env_failed")
    assert report.code_failed
    assert "ZeroDivisionError" in finding.message
    assert 'File "environment.py", line 2' in str(finding.traceback)


def test_prompts_that_cannot_be_built_are_found_with_their_rows(check: Check) -> None:
    prompt = '[{"role": "user", "content": example.input}]'

    report = check(SOUND.replace(prompt, f"{prompt} if example.input != '3 + 1' else []"))

    finding = only(report, "prompt_failed")
    assert (finding.severity, finding.rows) == (Severity.ERROR, (3,))
    assert report.code_failed


def test_gold_answers_that_all_score_nothing_are_an_error(check: Check) -> None:
    report = check(changed("RewardResult(0.0)"))

    finding = only(report, "gold_all_zero")
    assert finding.severity is Severity.ERROR
    assert finding.rows == tuple(range(8))


def test_some_gold_answers_that_score_nothing_are_a_warning(check: Check) -> None:
    reward = "RewardResult(float(response_text == example.output and response_text != '3'))"

    finding = only(check(changed(reward)), "gold_some_zero")

    assert (finding.severity, finding.rows) == (Severity.WARNING, (2,))


def test_a_reward_that_raises_on_gold_is_the_authors_failure(check: Check) -> None:
    report = check(changed("RewardResult(1 / (example.output != '2'))"))

    finding = only(report, "gold_failed")
    assert report.code_failed
    assert finding.rows == (1,)
    assert "ZeroDivisionError" in str(finding.traceback)


def test_a_reward_that_is_no_number_is_an_error(check: Check) -> None:
    report = check(changed("RewardResult(float('nan'))"))

    assert "nan" in only(report, "gold_unusable").message
    assert report.code_failed


def test_a_reward_that_fails_on_a_wrong_answer_is_an_error(check: Check) -> None:
    report = check(changed("RewardResult(float(int(response_text) == int(example.output)))"))

    finding = only(report, "wrong_failed")
    assert finding.severity is Severity.ERROR
    # Three are enough, since each might have taken a whole timeout.
    assert finding.rows == (0, 1, 2)


def test_after_enough_wrong_answers_that_fail_every_gold_answer_is_still_scored(
    check: Check,
) -> None:
    reward = "RewardResult(float(int(response_text) == int(example.output) != 8))"

    assert only(check(changed(reward)), "gold_some_zero").rows == (7,)


def test_a_reward_that_changes_its_mind_is_a_warning(check: Check) -> None:
    reward = "RewardResult(1.0 + __import__('random').random())"

    assert only(check(changed(reward)), "reward_varies").severity is Severity.WARNING


def test_a_reward_that_is_always_the_same_is_an_error(check: Check) -> None:
    report = check(changed("RewardResult(1.0)"))

    assert only(report, "reward_constant").severity is Severity.ERROR


def test_repeated_rows_are_a_warning(check: Check) -> None:
    report = check(SOUND.replace("for n in range(8)", "for n in (1, 2, 1)"))

    assert only(report, "duplicate_rows").rows == (2,)


def test_training_rows_that_are_held_out_too_are_a_warning(check: Check) -> None:
    suite = """
from environment import load_environment
from freesolo.datasets import load_dataset
from freesolo.environments import EnvironmentEvalSuite

def load_evaluations():
    cases = load_dataset([{"input": "3  + 1", "output": "4"}, {"input": "99 + 1"}]).examples
    return EnvironmentEvalSuite(load_environment(), cases)
"""

    report = check(files={"evaluations.py": suite})

    assert only(report, "heldout_overlap").rows == (3,)


SPLITS = SOUND.replace("load_environment():", "load_environment(split):").replace(
    "return Sums()", "assert split in ('a', 'b', 'c', 'd'), split\n    return Sums()"
)


def config(params: str) -> str:
    """Return a training config that loads its environment with `params`."""
    model = 'model = "org/name"\nalgorithm = "sft"\n'
    return f'{model}[environment]\nid = "local/example"\nparams = {{ {params} }}\n'


def test_the_environment_is_loaded_with_the_parameters_of_its_config(check: Check) -> None:
    assert not check(SPLITS).ok
    assert check(SPLITS, files={"configs/sft.toml": config('split = "a"')}).ok


def test_the_parameters_of_each_config_are_tried_and_named_where_they_fail(check: Check) -> None:
    files = {
        "configs/a.toml": config('split = "a"'),
        "configs/same.toml": config('split = "a"'),
        "configs/wrong.toml": config('split = "z"'),
    }

    finding = only(check(SPLITS, files=files), "env_failed")

    assert "AssertionError: z (with the parameters of configs/wrong.toml)" in finding.message


def test_only_so_many_parameters_are_tried(check: Check) -> None:
    files = {f"configs/{split}.toml": config(f'split = "{split}"') for split in "abcdz"}

    report = check(SPLITS, files=files)

    assert report.ok
    assert "4 of the 5" in only(report, "sampled").message


def test_a_reward_that_crashes_with_last_words_did_not_raise(check: Check) -> None:
    crash = "print('last words', flush=True) or __import__('os')._exit(3)"

    finding = only(check(changed(crash)), "gold_unusable")

    assert "last words" in str(finding.traceback)


def test_rows_without_gold_answers_are_only_mentioned(check: Check) -> None:
    report = check(SOUND.replace('"output": str(n + 1)', '"metadata": {}'))

    assert report.ok
    assert only(report, "gold_missing").severity is Severity.INFO


def test_the_preflight_of_a_run_finds_bad_rewards(tmp_path: Path, options: HostOptions) -> None:
    folder = write_environment(tmp_path / "environment", changed("RewardResult(0.0)"))

    with open_host(folder, options) as host:
        assert [finding.code for finding in check_gold(host)] == ["gold_all_zero"]


def test_every_code_is_described(check: Check) -> None:
    reports = [
        check(changed("RewardResult(0.0)")),
        check("raise SystemExit"),
        check(files={".freesoloignore": "environment.py"}),
    ]

    for report in reports:
        for finding in report.findings:
            assert finding.code in str(checks.__doc__)
