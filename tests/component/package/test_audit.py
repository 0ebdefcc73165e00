"""The reward audit, through real hosts: each flaw is named, and what is sound is left in peace."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from freesolo.package.audit import audit_rewards
from freesolo.package.audit_facts import AuditResult
from freesolo.package.findings import Finding, Severity
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from tests.environment_folders import write_environment
from tests.flawed_environments import REWARD_FLAWS, Flawed, capitals

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


@pytest.mark.parametrize("flawed", REWARD_FLAWS.values(), ids=REWARD_FLAWS)
def test_a_flawed_reward_is_told_by_its_flaw_alone(
    flawed: Flawed, tmp_path: Path, options: HostOptions
) -> None:
    quick = HostOptions(options.cache_dir, sandbox=SandboxMode.OFF, call_timeout=1)
    reopen = partial(open_host, flawed.write(tmp_path / "environment"), quick)
    with reopen() as host:
        result = audit_rewards(host, host.examples(), reopen=reopen)

    assert codes(result) == flawed.codes, [finding.message for finding in result.findings]


SOUND_REWARDS = {
    "exact": "return RewardResult(float(answer == gold))",
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
