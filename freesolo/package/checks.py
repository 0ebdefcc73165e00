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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from freesolo.package.audit import check_gold
from freesolo.package.files import collect_files, copy_files
from freesolo.package.findings import Finding, Severity
from freesolo.package.prompts import FindModel, built_in_model
from freesolo.package.report import Report
from freesolo.package.static import Files, check_files, left_out, secrets_of
from freesolo.package.trials import Bench, merged_findings, try_code
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
    find_model: FindModel = built_in_model,
) -> Report:
    """Check the environment in `root`. Its code is only run if its files have no error, and only
    with those that would be packed: what works here must work for whoever pulls it. It is loaded
    as the configs in configs/ load it.

    `name` is for a folder without a manifest; `secrets` are those that are at hand, of which the
    environment gets the declared ones, and must have all; `find_foundation` brings what it builds on, and
    `find_model` the base models of its configs. Raise `Unavailable` if its dependencies cannot be
    fetched now, or if a sandbox is required and there is none.
    """
    files = check_files(root, name=name)
    at_hand = dict(secrets or {})
    report = Report((*files.findings, *_missing(files, at_hand)), code=files.code)
    if not report.ok:
        return report
    with tempfile.TemporaryDirectory(prefix="freesolo-packed-") as folder:
        packed = Path(folder)
        copy_files(root, collect_files(root), packed)
        bench = Bench(
            folder=packed,
            options=options,
            foundation=find_foundation(packed),
            secrets=at_hand,
            declared=files.secrets,
            imports=files.imports,
            find_model=find_model,
        )
        trials = try_code(bench, files.specs)
    findings = [*files.findings, *merged_findings(trials)]
    if any(finding.code == "env_failed" for finding in findings):
        findings += left_out(root)
    return Report(
        tuple(findings),
        code_failed=any(finding.code in _CODE_FAILED for finding in findings),
        layers=max((trial.layers for trial in trials), key=len),
        code=files.code,
        uses=tuple(trial.facts for trial in trials),
    )


def _missing(files: Files, at_hand: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted({*files.secrets, *secrets_of(files.specs.values())} - at_hand.keys()):
        message = (
            f"The secret {name} is declared, and not set here: set it in the shell, or in `.env.local` "
            "or `.env` of the current folder."
        )
        yield Finding("secret_missing", Severity.ERROR, message)
