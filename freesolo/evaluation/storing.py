"""Results on their way to the hub: to which version they belong, and cut to what it keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from freesolo.client.hub import HubClient
from freesolo.domain.evaluations import CaseResult, Outcome
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.errors import NotFound, Unauthorized, Unavailable
from freesolo.evaluation.models import AskedModel, Sampling
from freesolo.package.difference import Tree
from freesolo.package.files import collect_files
from freesolo.package.lockfile import LockedEnvironment
from freesolo.runtime.client import read_manifest
from freesolo.schemas.accounts import Scope
from freesolo.schemas.evaluations import (
    MAX_TEXT,
    EvaluationCase,
    EvaluationSettings,
    NewEvaluation,
    NewSuite,
    StoredCase,
)

# Of a request's body, which the hub keeps in memory: it takes a third more.
_MAX_BYTES = 12 << 20
_SHORTEST = 50
_CUT = "..."


@dataclass(frozen=True)
class Version:
    """The published version of an environment that results are about."""

    ref: str
    version: str
    tree_digest: str


@dataclass(frozen=True)
class NotKept:
    """Why results are not stored."""

    reason: str


@dataclass(frozen=True)
class Asked:
    """How a model was asked: what decides its answers besides itself and the environment."""

    sampling: Sampling
    samples: int
    limit: int | None
    params: Mapping[str, JsonValue]
    endpoint: str | None


def find_home(
    open_hub: Callable[[], HubClient], folder: Path, placed: LockedEnvironment | None
) -> Version | NotKept:
    """Return the published version that results of an environment belong to.

    `placed` is the version that was asked for; without one, `folder` is its author's own, whose
    files may be just those of a version. An evaluation needs no hub, so one that does not answer is
    a reason like any other.
    """
    try:
        hub = open_hub()
        caller = hub.whoami()
    except (Unauthorized, Unavailable) as error:
        return NotKept(error.message)
    if Scope.RUNS_WRITE not in caller.scopes:
        return NotKept(f"The key {caller.key_name!r} lacks the scope {Scope.RUNS_WRITE.value!r}.")
    if placed is None:
        return _published_as(folder, caller.org, hub)
    if placed.source != hub.url:
        return NotKept(f"{placed} comes from {placed.source}.")
    return Version(placed.id, placed.version, placed.tree)


def _published_as(folder: Path, org: str, hub: HubClient) -> Version | NotKept:
    """Return the version of the org's that has exactly the files of `folder`."""
    manifest = read_manifest(folder)
    if manifest is None:
        return NotKept(f"{folder} has no manifest, so it is no published version.")
    digest = Tree(folder, tuple(collect_files(folder))).digest
    try:
        found = hub.resolve(EnvRef(org, manifest.name, Selector(SelectorKind.DIGEST, digest)))
    except NotFound:
        return NotKept(
            f"{folder} is as it stands no published version of {org}/{manifest.name}; "
            f"`freesolo publish {folder}` makes it one."
        )
    return Version(found.ref, found.version, found.tree_digest)


def to_store(
    version: Version, model: AskedModel, asked: Asked, suites: Mapping[str, Sequence[CaseResult]]
) -> NewEvaluation:
    """Return what the hub is to keep. Long texts are cut; `--out` writes them whole."""
    longest = MAX_TEXT
    while True:
        kept = _cases(suites, longest)
        size = sum(len(suite.model_dump_json().encode()) for suite in kept)
        if size <= _MAX_BYTES or longest <= _SHORTEST:
            break
        longest //= 2
    return NewEvaluation(
        environment=f"{version.ref}@{version.version}",
        tree_digest=version.tree_digest,
        target=model.target.text,
        revision=model.revision and cut(model.revision, 200),
        endpoint=asked.endpoint,
        settings=EvaluationSettings(
            temperature=asked.sampling.temperature,
            max_tokens=asked.sampling.max_tokens,
            seed=asked.sampling.seed,
            samples=asked.samples,
            limit=asked.limit,
            params=dict(asked.params),
        ),
        suites=kept,
    )


def stored_results(cases: Sequence[StoredCase]) -> dict[str, list[CaseResult]]:
    """Return the results in stored cases, by the name of their suite."""
    suites: dict[str, list[CaseResult]] = {}
    for case in cases:
        result = CaseResult(**case.model_dump(exclude={"suite"}))
        suites.setdefault(case.suite, []).append(result)
    return suites


def _cases(suites: Mapping[str, Sequence[CaseResult]], longest: int) -> list[NewSuite]:
    return [
        NewSuite(name=cut(name, 200), cases=[_case(result, longest) for result in results])
        for name, results in suites.items()
    ]


def _case(result: CaseResult, longest: int) -> EvaluationCase:
    return EvaluationCase(
        index=result.index,
        sample=result.sample,
        id=cut(result.id, 500),
        prompt=cut(result.prompt, longest),
        expected=result.expected and cut(result.expected, longest),
        answer=result.answer and cut(result.answer, longest),
        outcome=Outcome(result.outcome),
        score=result.score,
        error=result.error and cut(result.error, longest),
    )


def cut(text: str, longest: int) -> str:
    """Return text of at most `longest` characters, its end marked if some are left out.

    Halves of surrogate pairs, which a model or an author may make but no database keeps, are marked
    too.
    """
    sound = text.encode(errors="replace").decode()
    return sound if len(sound) <= longest else sound[: longest - len(_CUT)] + _CUT
