"""The Python of an environment, read as syntax and never run: its modules, and what they import."""

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from freesolo.package.findings import Finding, Severity

# Where running begins: what neither reaches is a tool of the author's.
ENTRY_POINTS = ("environment.py", "evaluations.py")
# What of ours lies beside an environment's code.
_CONTRACT = ("freesolo.contracts", "freesolo.datasets", "freesolo.environments", "flash.envs")
_OURS = ("freesolo", "flash", "hub_server", "serving_backend", "training_backend")
_PUBLIC = frozenset({"OpenAI", "AsyncOpenAI"})
_IMPORT_FAILURES = frozenset({"BaseException", "Exception", "ImportError", "ModuleNotFoundError"})
# Environments that this one builds on are modules of these names.
_ENVIRONMENT_PREFIX = "fsenv"
_NOTHING = ast.Module([], [])


@dataclass(frozen=True)
class Module:
    """One Python file of the package."""

    path: str
    tree: ast.Module


class Need(StrEnum):
    """What an import means for the module: it is run at once, or when a function is called, or its
    failure is provided for.
    """

    AT_ONCE = "at once"
    LATER = "later"
    OPTIONAL = "optional"


@dataclass(frozen=True)
class Import:
    """An import statement for one name: `members` are what is taken out of the module."""

    module: str
    members: tuple[str, ...]
    path: str
    line: int
    need: Need

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]


def parse_modules(root: Path, paths: Sequence[str]) -> tuple[list[Module], list[Finding]]:
    """Parse every Python file among `paths`; return them, empty where they are not Python, and what is
    wrong with those.
    """
    modules: list[Module] = []
    findings: list[Finding] = []
    for path in paths:
        if not path.endswith(".py"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                modules.append(Module(path, ast.parse((root / path).read_bytes(), path)))
        except (SyntaxError, ValueError) as error:
            line = error.lineno if isinstance(error, SyntaxError) else None
            findings.append(_broken(path, f"{path} is not Python: {error}.", line))
            modules.append(Module(path, _NOTHING))
        except (RecursionError, MemoryError):
            findings.append(_broken(path, f"{path} is nested too deeply for Python.", None))
            modules.append(Module(path, _NOTHING))
    return modules, findings


def reachable(modules: Iterable[Module]) -> list[Module]:
    """Return the modules that running an environment may come to, by what imports what.

    A module is known by the last part of its name: whoever changes `sys.path` may import it so.
    """
    by_name: dict[str, list[Module]] = {}
    for module in modules:
        for name in _own_names(module.path):
            by_name.setdefault(name, []).append(module)
    pending = [module for module in modules if module.path in ENTRY_POINTS]
    reached = {module.path: module for module in pending}
    while pending:
        for each in imports_of(pending.pop()):
            parts = {*each.module.split("."), *each.members}
            for module in (module for part in parts for module in by_name.get(part, ())):
                if module.path not in reached:
                    reached[module.path] = module
                    pending.append(module)
    return [reached[path] for path in sorted(reached)]


def imports_of(module: Module) -> Iterator[Import]:
    """Yield what a module imports, in its order; what only type checkers read is left out."""
    return _imports(module.tree.body, module.path, Need.AT_ONCE)


def foreign_imports(modules: Sequence[Module], paths: Sequence[str]) -> list[Import]:
    """Return the imports of what is neither the standard library's, nor the package's own, nor of
    the contract, each module once; what is ours and not of the contract among them.
    """
    own = {name for path in paths for name in _own_names(path)}
    found: dict[tuple[str, str], Import] = {}
    for each in (each for module in reachable(modules) for each in imports_of(module)):
        if each.top in own or each.top in sys.stdlib_module_names or _is_contract(each):
            continue
        if each.need is not Need.OPTIONAL:
            found.setdefault((each.path, each.top), each)
    return list(found.values())


def check_imports(imports: Iterable[Import], others: Iterable[str] | None) -> Iterator[Finding]:
    """Yield a finding for each import of a module that will not be there.

    `others` are the names of all further modules; None if there are some, and which is not known.
    """
    known = None if others is None else set(others)
    for each in imports:
        if each.top in _OURS:
            yield _unknown(each, "belongs to the platform, and is not there where it runs")
        elif known is not None and each.top not in known:
            how = "`environments`" if each.top.startswith(_ENVIRONMENT_PREFIX) else "`dependencies`"
            yield _unknown(
                each, f"is not in the folder, and nothing under {how} in the manifest brings it"
            )


def installed_modules(python: Path) -> set[str]:
    """Return the names of the modules in the virtual environment that `python` belongs to."""
    folders = python.parent.parent.glob("lib*/python*/site-packages")
    names = (entry.name for folder in folders for entry in folder.iterdir())
    return {name.partition(".")[0] for name in names}


def shadowing(paths: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each module at the root that hides one of the standard library or ours."""
    hidden = {*sys.stdlib_module_names, *_OURS}
    for path in paths:
        # A folder without that file yields to the module of its name.
        name = path.removesuffix("/__init__.py").removesuffix(".py")
        if path.endswith(".py") and name in hidden:
            message = f"{path} hides the module `{name}` from all code around it; rename it."
            yield Finding("module_shadows", Severity.WARNING, message, path=path)


def _own_names(path: str) -> set[str]:
    pure = PurePosixPath(path)
    if pure.suffix not in (".py", ".so"):
        return set()
    return {pure.name.partition(".")[0], *pure.parts[:-1]}


def _is_contract(each: Import) -> bool:
    if each.module == "freesolo":
        return set(each.members) <= _PUBLIC or all(
            f"freesolo.{name}" in _CONTRACT or name in _PUBLIC for name in each.members
        )
    return any(
        each.module == allowed or each.module.startswith(f"{allowed}.") for allowed in _CONTRACT
    )


def _imports(body: Sequence[ast.stmt], path: str, need: Need) -> Iterator[Import]:
    # Only statements are walked through: their nesting is bounded, that of expressions is not.
    for statement in body:
        match statement:
            case ast.Import():
                for alias in statement.names:
                    yield Import(alias.name, (), path, statement.lineno, need)
            case ast.ImportFrom():
                members = tuple(alias.name for alias in statement.names)
                # A relative import stays in the package, as its members do.
                name = "" if statement.level else statement.module or ""
                if statement.level:
                    members += tuple((statement.module or "").split("."))
                yield Import(name or "__future__", members, path, statement.lineno, need)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                later = Need.LATER if need is Need.AT_ONCE else need
                yield from _imports(statement.body, path, later)
            case ast.Try() | ast.TryStar():
                yield from _imports_of_try(statement, path, need)
            case ast.If() if "TYPE_CHECKING" in ast.unparse(statement.test):
                yield from _imports(statement.orelse, path, need)
            case _:
                for block in _blocks(statement):
                    yield from _imports(block, path, need)


def _imports_of_try(statement: "ast.Try | ast.TryStar", path: str, need: Need) -> Iterator[Import]:
    provided_for = any(_catches_import(handler) for handler in statement.handlers)
    inner = Need.OPTIONAL if provided_for else need
    yield from _imports(statement.body, path, inner)
    for handler in statement.handlers:
        yield from _imports(handler.body, path, inner)
    yield from _imports(statement.orelse, path, inner)
    yield from _imports(statement.finalbody, path, need)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in _IMPORT_FAILURES for kind in caught)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    fields: Mapping[str, object] = dict(ast.iter_fields(statement))
    for name in ("body", "orelse"):
        block = fields.get(name)
        if isinstance(block, list):
            yield block
    if isinstance(statement, ast.Match):
        yield from (case.body for case in statement.cases)


def _unknown(each: Import, why: str) -> Finding:
    at_once = each.need is Need.AT_ONCE
    severity = Severity.ERROR if at_once or each.top in _OURS else Severity.WARNING
    message = f"`{each.module}` {why}."
    return Finding("import_unknown", severity, message, path=each.path, line=each.line)


def _broken(path: str, message: str, line: int | None) -> Finding:
    return Finding("syntax_error", Severity.ERROR, message, path=path, line=line)
