"""What can be said of an environment's folder without running any of its code."""

import ast
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from freesolo.datasets.records import load_records
from freesolo.domain.manifest import MANIFEST_NAME, Manifest
from freesolo.domain.packaging import ENVIRONMENT_LIMITS, tree_problems
from freesolo.domain.train_spec import parse_document, parse_train_spec
from freesolo.errors import InvalidEnvironment, InvalidInput
from freesolo.package.files import IGNORE_FILES, collect_files, has_manifest, load_manifest
from freesolo.package.findings import Finding, Severity
from freesolo.package.secrets import scan_files
from freesolo.runtime.client import ENTRY_POINT

_LICENSE_NAMES = ("license", "licence", "copying")
_LEFT_OUT = f"is left out of the package by {' or '.join(IGNORE_FILES)}"


def check_files(root: Path, *, name: str | None) -> list[Finding]:
    """Check the files that would be packed. `name` is for a folder without a manifest."""
    try:
        paths = collect_files(root)
    except InvalidEnvironment as error:
        return [_error("package_limits", error.message)]
    return [
        *_manifest(root, name, paths),
        *_limits(root, paths),
        *_code(root, paths),
        *_datasets(root, paths),
        *_configs(root, paths),
        *_secrets(root, paths),
    ]


def left_out(root: Path) -> Iterator[Finding]:
    """Yield, for code that failed, what may have been missing from the files that it ran with."""
    present = [name for name in IGNORE_FILES if (root / name).is_file()]
    if present:
        yield _info(
            "files_left_out",
            f"The code ran without the files that {' and '.join(present)} leave out of the package.",
        )


def _manifest(root: Path, name: str | None, paths: Sequence[str]) -> Iterator[Finding]:
    try:
        manifest = load_manifest(root, name=name)
    except InvalidInput as error:
        yield from _problems("manifest_invalid", MANIFEST_NAME, error)
        return
    if has_manifest(root) and MANIFEST_NAME not in paths:
        yield _error("manifest_invalid", f"{MANIFEST_NAME} {_LEFT_OUT}.")
    yield from _documents(manifest, paths)


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
        yield _error("package_limits", f"{place}{problem.message}")


def _code(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    if ENTRY_POINT not in paths:
        left_out = (root / ENTRY_POINT).is_file()
        yield _error(
            "entry_point_missing",
            f"{ENTRY_POINT} {_LEFT_OUT}."
            if left_out
            else f"There is no {ENTRY_POINT}; it must define `load_environment(**params)`.",
        )
    for path in paths:
        if not path.endswith(".py"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse((root / path).read_bytes(), path)
        except (SyntaxError, ValueError) as error:
            yield _error("syntax_error", f"{path} is not Python: {error}.")
        except (RecursionError, MemoryError):
            yield _error("syntax_error", f"{path} is nested too deeply for Python.")


def _datasets(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    for path in paths:
        file = root / path
        if not path.startswith("dataset/"):
            continue
        try:
            if file.suffix == ".jsonl":
                load_records(file)
            elif file.suffix == ".json":
                json.loads(file.read_bytes())
        except ValueError as error:
            reason = str(error).replace(f"{root}/", "")
            yield _error("dataset_unreadable", f"{path} cannot be read: {reason}.")
        except RecursionError:
            yield _error("dataset_unreadable", f"{path} cannot be read: it is nested too deeply.")


def _configs(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    for path in paths:
        if not (path.startswith("configs/") and path.endswith(".toml")):
            continue
        try:
            parse_train_spec(parse_document((root / path).read_text(encoding="utf-8")))
        except UnicodeDecodeError as error:
            yield _error("config_invalid", f"{path} is not UTF-8: {error}.")
        except InvalidInput as error:
            yield from _problems("config_invalid", path, error)


def _secrets(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    for secret in scan_files(root, paths):
        yield _error(
            "secret_found",
            f"{secret.path}, line {secret.line}, looks like a secret ({secret.kind}). Name it under "
            "`secrets` in the manifest instead, leave the file out with .freesoloignore, or, if it "
            "is none, write `pragma: allowlist secret` on its line.",
        )


def _problems(code: str, path: str, error: InvalidInput) -> Iterator[Finding]:
    """Yield a finding for everything that is wrong with a file."""
    if not error.problems:
        yield _error(code, f"{path}: {error.message}")
    for problem in error.problems:
        yield _error(code, f"{path}: `{problem.path}`: {problem.message}")


def _error(code: str, message: str) -> Finding:
    return Finding(code, Severity.ERROR, message)


def _info(code: str, message: str) -> Finding:
    return Finding(code, Severity.INFO, message)
