"""Everything that `freesolo validate` runs: the files first, then the code in its host.

Codes of errors:
  folder_missing        there is no such folder
  manifest_invalid      environment.toml is missing or wrong
  entry_point_missing   there is no environment.py
  entry_point_invalid   environment.py does not define load_environment, or evaluations.py
                        load_evaluations, as a plain function
  syntax_error          a module is not Python; information where nothing imports it
  import_unknown        a module is imported that nothing brings; a warning where only a function
                        imports it
  hook_async            a method of the contract is `async`, and nobody awaits it
  param_missing         a config leaves out what load_environment needs
  package_limits        a path, a size or the number of files is beyond what is accepted; a link
  dataset_unreadable    a line of a file in dataset/ does not parse
  input_missing         rows of a file lack the `input` that others of it have
  config_invalid        a file in configs/ is not a training config
  secret_found          a file holds what looks like a key
  secret_missing        a declared secret is not set here
  foundation_missing    an environment that it builds on is not there, or none that fits all
  env_failed            the environment, its dataset or its suites do not load
  prompt_failed         a prompt or a gold answer cannot be built, or is not well-formed
  gold_failed           the reward raised on a gold answer
  gold_unusable         the reward of a gold answer hung, crashed or was no finite number
  gold_all_zero         no gold answer gets a positive reward
  wrong_failed          the reward raised, hung, crashed or was no finite number on another answer
  reward_constant       every answer gets the same reward; a warning without gold answers
  not_checked           what the check needs is not at hand now: a hub, the package index, a sandbox; said
                        by the command
  rows_too_long         rows have more tokens than a config allows; a warning if some fit, and
                        information where tokens are estimated

Codes of warnings:
  module_shadows        a module hides one of the standard library or of ours
  param_ignored         a config gives what load_environment does not take
  secret_undeclared     a variable is read that looks like a secret and is not declared; information
                        for other variables
  network_undeclared    a module for the network is imported without `network = true`
  absolute_path         a file is opened by a path on the author's machine
  extra_values          a row of CSV has more values than columns
  duplicate_rows        rows that repeat an earlier one
  contradictory_rows    rows that differ from an earlier one in nothing but the gold answer;
                        information where the reward takes both
  labels_unbalanced     one gold answer is that of nearly all rows
  input_empty           rows with an empty input and nothing else to ask with
  output_empty          gold answers that say nothing
  prompt_empty          prompts without a text
  think_tags_missing    gold answers without thinking, in a config that trains it
  heldout_overlap       training rows that are held-out questions too
  gold_some_zero        some gold answers get no positive reward
  gold_unsuccessful     gold answers get a reward but are no success; information where it is zero
                        or less
  success_contradicts   an answer with a lower reward is a success while a better one is not
  reward_blind          wrong answers get as much as gold ones, half of the time or more
  reward_gamed          kinds of wrong answers get as much as the gold answer
  reward_varies         the same answer gets different rewards
  reward_stateful       the reward depends on what was asked before, or on the process
  dataset_varies        load_environment makes another dataset each time
  reward_slow           a step of GRPO would wait more than a minute for its rewards
  episode_varies        an episode goes another way when the same actions are taken again
  turn_rewards_unusable `per_turn_rewards` are not one finite number for each action

Codes of information: no_summary, no_license, no_readme, no_heldout, few_rows, similar_rows (an input
again but for case and spacing), heldout_similar (a held-out question but for punctuation),
model_unknown (no tokens were counted), not_read (a file too large to look into), reward_lenient (a
gold answer is as good when cut or shuffled, or that of another row is), gold_missing, gold_not_scored, sampled,
files_left_out.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from freesolo.errors import Conflict, NotFound
from freesolo.package.audit import check_gold
from freesolo.package.files import collect_files, copy_files
from freesolo.package.findings import Finding, Severity
from freesolo.package.prompts import FindModel, built_in_model
from freesolo.package.report import Report
from freesolo.package.static import Files, check_files, left_out, secrets_of
from freesolo.package.trials import Bench, merged_findings, try_code
from freesolo.runtime.client import Foundation, HostOptions

__all__ = ["Finding", "Report", "Severity", "check_folder", "check_gold"]

_CODE_FAILED = frozenset(
    {"env_failed", "prompt_failed", "gold_failed", "gold_unusable", "wrong_failed"}
)


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
        try:
            foundation = find_foundation(packed)
        except (NotFound, Conflict) as error:
            return _with(report, Finding("foundation_missing", Severity.ERROR, error.message))
        bench = Bench(
            folder=packed,
            options=options,
            foundation=foundation,
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


def _with(report: Report, finding: Finding) -> Report:
    return replace(report, findings=(*report.findings, finding))


def _missing(files: Files, at_hand: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted({*files.secrets, *secrets_of(files.specs.values())} - at_hand.keys()):
        message = (
            f"The secret {name} is declared, and not set here: set it in the shell, or in `.env.local` "
            "or `.env` of the current folder."
        )
        yield Finding("secret_missing", Severity.ERROR, message)
