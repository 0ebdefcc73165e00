"""What can be said of an environment's folder without running any of its code."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from freesolo.domain.distributions import Distribution
from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.packaging import ENVIRONMENT_LIMITS, tree_problems
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import TrainSpec, parse_document, parse_train_spec
from freesolo.errors import InvalidEnvironment, InvalidInput
from freesolo.package.code_checks import (
    CodeFacts,
    check_factories,
    check_hooks,
    check_params,
    check_reach,
    code_facts,
)
from freesolo.package.dataset_checks import check_dataset_files
from freesolo.package.files import IGNORE_FILES, collect_files, has_manifest, load_manifest
from freesolo.package.findings import Finding, Severity
from freesolo.package.modules import (
    Import,
    Module,
    check_imports,
    foreign_imports,
    parse_modules,
    reachable,
    shadowing,
)
from freesolo.package.secrets import scan_files
from freesolo.runtime.client import ENTRY_POINT

_LICENSE_NAMES = ("license", "licence", "copying")
_LEFT_OUT = f"is left out of the package by {' or '.join(IGNORE_FILES)}"


@dataclass(frozen=True)
class Files:
    """What the files say: `imports` are those of modules that dependencies must bring, `specs` the
    training configs by their paths, `secrets` the names that the manifest declares.
    """

    findings: list[Finding]
    code: CodeFacts = field(default_factory=CodeFacts)
    imports: list[Import] = field(default_factory=list)
    specs: dict[str, TrainSpec] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def check_files(root: Path, *, name: str | None) -> Files:
    """Check the files that would be packed. `name` is for a folder without a manifest."""
    if not root.is_dir():
        return Files([_error("folder_missing", f"There is no folder {root}.")])
    try:
        paths = collect_files(root)
    except InvalidEnvironment as error:
        return Files([_error("package_limits", error.message)])
    manifest, findings = _manifest(root, name, paths)
    findings += _limits(root, paths)
    modules, unparsed = parse_modules(root, paths)
    specs, wrong = _configs(root, paths)
    run = reachable(modules)
    broken = list(_broken(unparsed, run))
    imports = foreign_imports(modules, paths)
    facts = code_facts(run)
    findings += [*_entry_point(root, paths), *broken, *wrong]
    if not any(each.severity is Severity.ERROR for each in broken):
        findings += _code(run, manifest, specs, facts)
        findings += check_imports(imports, _others(manifest, specs))
        findings += shadowing(paths)
    findings += [*check_dataset_files(root, paths), *_secrets(root, paths)]
    return Files(findings, facts, imports, specs, manifest.secrets)


def declared_secrets(root: Path) -> set[str]:
    """Return the names of all secrets that the manifest and the configs declare, as far as they can
    be read.
    """
    if not root.is_dir():
        return set()
    try:
        paths = collect_files(root)
        manifest = load_manifest(root, name=None if has_manifest(root) else "unnamed")
    except InvalidInput:
        return set()
    specs, _ = _configs(root, paths)
    return {*manifest.secrets, *secrets_of(specs.values())}


def secrets_of(specs: Iterable[TrainSpec]) -> set[str]:
    """Return the names of the secrets that configs declare."""
    return {name for spec in specs for name in spec.environment.secrets}


def left_out(root: Path) -> Iterator[Finding]:
    """Yield, for code that failed, what may have been missing from the files that it ran with."""
    present = [name for name in IGNORE_FILES if (root / name).is_file()]
    if present:
        yield _info(
            "files_left_out",
            f"The code ran without the files that {' and '.join(present)} leave out of the package.",
        )


def _manifest(root: Path, name: str | None, paths: Sequence[str]) -> tuple[Manifest, list[Finding]]:
    """Return the manifest, or an empty one, and what is wrong with it."""
    try:
        manifest = load_manifest(root, name=name)
    except InvalidInput as error:
        return Manifest(name="unnamed"), list(_problems("manifest_invalid", MANIFEST_NAME, error))
    findings = list(_documents(manifest, paths))
    if has_manifest(root) and MANIFEST_NAME not in paths:
        findings.append(_error("manifest_invalid", f"{MANIFEST_NAME} {_LEFT_OUT}."))
    return manifest, findings


def _documents(manifest: Manifest, paths: Sequence[str]) -> Iterator[Finding]:
    names = {path.lower() for path in paths}
    if not manifest.summary:
        yield _info("no_summary", "The manifest has no `summary`, which search and listings show.")
    if not manifest.license and not any(name.startswith(_LICENSE_NAMES) for name in names):
        yield _info("no_license", "Neither the manifest nor a file says under which license it is.")
    if not any(name.startswith("readme") for name in names):
        yield _info("no_readme", "There is no README to tell others what the task is.")


def _limits(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    sizes = ((path, (root / path).stat().st_size) for path in paths)
    for problem in tree_problems(sizes, ENVIRONMENT_LIMITS):
        place = f"{problem.path}: " if problem.path else ""
        yield _error("package_limits", f"{place}{problem.message}", problem.path or None)


def _entry_point(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    if ENTRY_POINT not in paths:
        left_out = (root / ENTRY_POINT).is_file()
        yield _error(
            "entry_point_missing",
            f"{ENTRY_POINT} {_LEFT_OUT}."
            if left_out
            else f"There is no {ENTRY_POINT}; it must define `load_environment(**params)`.",
        )


def _broken(unparsed: Iterable[Finding], run: Iterable[Module]) -> Iterator[Finding]:
    """Yield what is not Python. Where nothing runs it, it may be data: a program to be mended."""
    reached = {module.path for module in run}
    for each in unparsed:
        yield each if each.path in reached else replace(each, severity=Severity.INFO)


def _code(
    modules: Sequence[Module],
    manifest: Manifest,
    specs: Mapping[str, TrainSpec],
    facts: CodeFacts,
) -> Iterator[Finding]:
    yield from check_factories(modules)
    yield from check_hooks(modules)
    declared = {*manifest.secrets, *secrets_of(specs.values())}
    yield from check_reach(modules, manifest, declared)
    if facts.parameters is not None:
        for path, spec in specs.items():
            yield from check_params(facts.parameters, spec.environment.params, path)
        if not specs:
            yield from check_params(facts.parameters, {}, ENTRY_POINT)


def _others(manifest: Manifest, specs: Mapping[str, TrainSpec]) -> Iterable[str] | None:
    """Return the modules that are not the package's own; None if only installing tells."""
    if manifest.dependencies or any(spec.environment.pip for spec in specs.values()):
        return None
    refs = map(EnvRef.parse, manifest.environments)
    return [Distribution.of(ref.org, ref.name).module for ref in refs]


def _configs(root: Path, paths: Sequence[str]) -> tuple[dict[str, TrainSpec], list[Finding]]:
    specs: dict[str, TrainSpec] = {}
    findings: list[Finding] = []
    for path in paths:
        if not (path.startswith("configs/") and path.endswith(".toml")):
            continue
        try:
            text = (root / path).read_text(encoding="utf-8")
            specs[path] = parse_train_spec(parse_document(text))
        except UnicodeDecodeError as error:
            findings.append(_error("config_invalid", f"{path} is not UTF-8: {error}.", path))
        except InvalidInput as error:
            findings += _problems("config_invalid", path, error)
    return specs, findings


def _secrets(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    for secret in scan_files(root, paths):
        yield _error(
            "secret_found",
            f"{secret.path}, line {secret.line}, looks like a secret ({secret.kind}). Name it under "
            "`secrets` in the manifest instead, leave the file out with .freesoloignore, or, if it "
            "is none, write `pragma: allowlist secret` on its line.",
            secret.path,
            secret.line,
        )


def _problems(code: str, path: str, error: InvalidInput) -> Iterator[Finding]:
    """Yield a finding for everything that is wrong with a file."""
    if not error.problems:
        yield _error(code, f"{path}: {error.message}", path)
    for problem in error.problems:
        yield _error(code, f"{path}: `{problem.path}`: {problem.message}", path)


def _error(code: str, message: str, path: str | None = None, line: int | None = None) -> Finding:
    return Finding(code, Severity.ERROR, message, path=path, line=line)


def _info(code: str, message: str) -> Finding:
    return Finding(code, Severity.INFO, message)
