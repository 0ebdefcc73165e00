"""The reward audit, through real hosts. That each flaw is named is shown in `test_flaws`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from freesolo.domain.manifest import Manifest
from freesolo.package.audit import FRUGAL, THOROUGH, Effort, audit_rewards, check_gold, effort_for
from freesolo.package.audit_facts import AuditResult
from freesolo.package.findings import Finding, Severity
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from tests.environment_folders import SOUND, write_environment
from tests.flawed_environments import capitals

Audit = Callable[..., AuditResult]


@pytest.fixture
def audit(tmp_path: Path, options: HostOptions) -> Audit:
    """Audit the reward of an environment made of `code`."""

    def audit_code(code: str, **settings: object) -> AuditResult:
        folder = write_environment(tmp_path / "environment", code)
        reopen = partial(open_host, folder, options)
        with reopen() as host:
            return audit_rewards(host, host.examples(), reopen=reopen, **settings)  # type: ignore[arg-type]

    return audit_code


def codes(result: AuditResult) -> set[str]:
    """Return the codes of all that is no mere information."""
    return {finding.code for finding in result.findings if finding.severity is not Severity.INFO}


def only(result: AuditResult, code: str) -> Finding:
    """Return the one finding with this code."""
    (finding,) = [finding for finding in result.findings if finding.code == code]
    return finding


SOUND_REWARDS = {
    "whatever its case": "return RewardResult(float(answer.casefold() == gold.casefold()))",
    "found at the end": "return RewardResult(float(answer.split()[-1:] == [gold]))",
    "never positive": "return RewardResult(float(answer == gold) - 1, success=answer == gold)",
    "partly": (
        "right = sum(a == b for a, b in zip(answer, gold))\n"
        "return RewardResult(right / max(len(answer), len(gold)), threshold=1.0)"
    ),
    "for brevity": (
        "return RewardResult((answer == gold) - len(answer) / 10**6, success=answer == gold)"
    ),
}


@pytest.mark.parametrize("reward", SOUND_REWARDS.values(), ids=SOUND_REWARDS)
def test_a_sound_reward_is_left_in_peace(audit: Audit, reward: str) -> None:
    result = audit(capitals(reward))

    assert codes(result) == set(), [finding.message for finding in result.findings]
    assert result.facts
    assert result.facts.separation
    assert result.facts.separation.auc == 1.0


def test_what_was_measured_is_told_by_kind_of_answer(audit: Audit) -> None:
    result = audit(capitals("return RewardResult((answer == gold) + 0.5 * (gold in answer))"))

    facts = result.facts
    assert facts
    assert (facts.rows, facts.labelled) == (20, 20)
    kinds = {(kind.kind, kind.wrong): kind for kind in facts.kinds}
    assert next(iter(kinds)) == ("gold", False)
    assert kinds["gold", False].mean_reward == 1.5
    assert kinds["every_label", True].mean_reward == 0.5
    assert kinds["every_label", True].as_gold == 0.0
    assert kinds["padded", False].as_gold == 1.0
    assert facts.worst == ()


def test_the_worst_answers_are_shown_beside_the_gold_ones(audit: Audit) -> None:
    facts = audit(
        capitals("return RewardResult((answer == gold) + 2.0 * (len(answer) > 999))")
    ).facts

    assert facts
    worst = facts.worst[0]
    assert (worst.row, worst.kind, worst.reward, worst.gold) == (0, "long", 2.0, "Vienna")
    assert len(worst.text) == 200


def test_the_authors_code_is_timed(audit: Audit) -> None:
    code = capitals("time.sleep(0.01)\nreturn RewardResult(float(answer == gold))")

    effort = Effort(gold_rows=3, wrong_rows=1, fresh_rows=0, timed_rows=2)
    facts = audit(code, effort=effort).facts

    assert facts
    assert facts.latency
    assert 0.01 <= facts.latency.p50 <= facts.latency.p99
    assert facts.latency.rollouts == 256
    # 32 groups, each of which takes no less than one of its answers.
    assert facts.latency.step_seconds >= 32 * 0.01


def test_no_row_is_begun_when_the_time_is_up(audit: Audit) -> None:
    ticks = iter(range(1000))
    five = Effort(gold_rows=256, wrong_rows=2, fresh_rows=2, seconds=5)

    result = audit(SOUND, effort=five, clock=lambda: float(next(ticks)))

    assert codes(result) == set()
    assert only(result, "sampled").message == (
        "The reward was tried on 5 of 8 rows, with wrong answers on 2: its 5 s were up."
    )


def test_a_hanging_reward_is_not_waited_for_again_and_again(
    tmp_path: Path, options: HostOptions
) -> None:
    quick = HostOptions(options.cache_dir, sandbox=SandboxMode.OFF, call_timeout=1)
    code = capitals("answer or time.sleep(3600)\nreturn RewardResult(float(answer == gold))")
    folder = write_environment(tmp_path / "environment", code)
    with open_host(folder, quick) as host:
        result = audit_rewards(host, host.examples(), effort=Effort(8, 8, 0, seconds=0))

    finding = only(result, "wrong_failed")
    assert "(empty)" in finding.message
    assert finding.rows == (0,)


def test_a_reward_that_may_cost_money_is_asked_little(audit: Audit) -> None:
    declared = {"name": "task", "secrets": ["JUDGE_API_KEY"]}

    assert effort_for(Manifest.model_validate(declared)) is FRUGAL
    assert effort_for(Manifest(name="task", network=True)) is FRUGAL
    assert effort_for(Manifest(name="task")) is effort_for(None) is THOROUGH
    facts = audit(capitals("return RewardResult(float(answer == gold))"), effort=FRUGAL).facts
    assert facts
    assert sum(kind.answers for kind in facts.kinds) < 64


def test_before_a_run_only_gold_answers_are_scored(tmp_path: Path, options: HostOptions) -> None:
    code = capitals("assert answer == gold\nreturn RewardResult(1.0)")
    with open_host(write_environment(tmp_path / "environment", code), options) as host:
        assert check_gold(host) == []


def test_rows_without_gold_answers_are_tried_with_nonsense(audit: Audit) -> None:
    without = capitals("return RewardResult(REWARD)").replace(', "output": city', "")

    quiet = audit(without.replace("REWARD", 'float(answer == "42")'))
    loud = audit(without.replace("REWARD", "1.0"))

    assert [finding.code for finding in quiet.findings] == ["gold_missing"]
    assert codes(loud) == {"reward_constant"}
    assert only(loud, "reward_constant").severity is Severity.WARNING


def test_a_reward_that_takes_half_a_sentence_is_only_mentioned(audit: Audit) -> None:
    reward = "return RewardResult(float(answer.split()[:1] == gold.split()[:1]))"
    code = capitals(reward).replace('"output": city', '"output": f"{city} is its capital"')

    result = audit(code)

    assert codes(result) == set()
    assert only(result, "reward_lenient").severity is Severity.INFO


def test_gold_answers_of_thinking_models_are_given_without_their_thoughts(audit: Audit) -> None:
    reward = "return RewardResult(float(answer == gold.split()[-1]))"
    code = capitals(reward).replace('"output": city', '"output": f"<think>Well.</think> {city}"')

    assert codes(audit(code)) == {"gold_all_zero"}
    assert codes(audit(code, thinking=True)) == set()


def test_a_dataset_that_is_another_each_time_is_told(audit: Audit) -> None:
    code = capitals("return RewardResult(float(answer == gold))").replace(
        "return Capitals()", "random.shuffle(Capitals.dataset)\n    return Capitals()"
    )

    assert codes(audit(code)) == {"dataset_varies"}
