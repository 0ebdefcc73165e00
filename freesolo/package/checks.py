"""Everything that `freesolo validate` runs: the files first, then the code in its host.

Codes of errors:
  manifest_invalid      environment.toml is missing or wrong
  entry_point_missing   there is no environment.py
  syntax_error          a module is not Python
  package_limits        a path, a size or the number of files is beyond what is accepted; a link
  dataset_unreadable    a file in dataset/ does not parse
  config_invalid        a file in configs/ is not a training config
  secret_found          a file holds what looks like a key
  env_failed            the environment, its dataset or its suites do not load
  prompt_failed         a prompt or a gold answer cannot be built, or is not well-formed
  gold_failed           the reward raised on a gold answer
  gold_unusable         the reward of a gold answer hung, crashed or was no finite number
  gold_all_zero         no gold answer gets a positive reward

Codes of warnings:
  gold_some_zero        some gold answers get no positive reward
  wrong_failed          the reward cannot score an empty or another row's answer
  reward_varies         the same answer gets different rewards
  reward_blind          no wrong answer gets less than the gold answer
  duplicate_rows        rows that repeat an earlier one
  heldout_overlap       training rows that are held-out questions too

Codes of information: no_summary, no_license, no_readme, no_heldout, gold_missing, gold_not_scored,
sampled, files_left_out.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from freesolo.package.audit import check_gold
from freesolo.package.files import collect_files, copy_files
from freesolo.package.findings import Finding, Report, Severity
from freesolo.package.static import check_files, left_out
from freesolo.package.trials import merged_findings, try_code
from freesolo.runtime.client import Foundation, HostOptions

__all__ = ["Finding", "Report", "Severity", "check_folder", "check_gold"]

_CODE_FAILED = frozenset({"env_failed", "prompt_failed", "gold_failed", "gold_unusable"})


def check_folder(
    root: Path,
    options: HostOptions,
    *,
    name: str | None = None,
    secrets: Mapping[str, str] | None = None,
    find_foundation: Callable[[Path], Foundation] = lambda _: Foundation(),
) -> Report:
    """Check the environment in `root`. Its code is only run if its files have no error, and only
    with those that would be packed: what works here must work for whoever pulls it. It is loaded
    as the configs in configs/ load it.

    `name` is for a folder without a manifest; `find_foundation` brings what it builds on. Raise `Unavailable` if its dependencies cannot be
    fetched now, or if a sandbox is required and there is none.
    """
    findings = check_files(root, name=name)
    if not Report(tuple(findings)).ok:
        return Report(tuple(findings))
    with tempfile.TemporaryDirectory(prefix="freesolo-packed-") as packed:
        copy_files(root, collect_files(root), Path(packed))
        foundation = find_foundation(Path(packed))
        trials = try_code(Path(packed), options, foundation, secrets=secrets or {})
    findings += merged_findings(trials)
    if any(finding.code == "env_failed" for finding in findings):
        findings += left_out(root)
    layers = max((trial.layers for trial in trials), key=len)
    failed = any(finding.code in _CODE_FAILED for finding in findings)
    return Report(tuple(findings), code_failed=failed, layers=layers)
