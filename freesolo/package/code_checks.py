"""What an environment's code says of itself: its entry point, its hooks, what it reaches for.

All of it is read from syntax. What a rule cannot see, it says nothing about.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from freesolo.domain.manifest import Manifest
from freesolo.package.findings import Finding, Severity
from freesolo.package.modules import ENTRY_POINTS, Module, Need, imports_of

_FACTORIES = dict(zip(ENTRY_POINTS, ("load_environment", "load_evaluations"), strict=True))
_BASES = frozenset({"Environment", "EnvironmentSingleTurn", "EnvironmentMultiTurn"})
_NETWORK = frozenset(
    {
        "aiohttp",
        "anthropic",
        "boto3",
        "freesolo.AsyncOpenAI",
        "freesolo.OpenAI",
        "ftplib",
        "http.client",
        "httpx",
        "openai",
        "requests",
        "smtplib",
        "socket",
        "urllib.request",
        "urllib3",
        "websockets",
    }
)
# Of what every process has, or the host sets.
_COMMON_VARIABLES = frozenset({"HOME", "LANG", "PATH", "PWD", "TMPDIR", "USER"})
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_TAKES_PATH = frozenset(
    {"Path", "PurePath", "load_dataset", "load_records", "load_task_examples", "open"}
)
_ABSOLUTE = re.compile(r"/(?!(?:tmp|dev|proc)(?:/|$))|~/|[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Parameters:
    """What a factory takes by keyword: `required` without a default; `takes_any` by `**kwargs`."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool


@dataclass(frozen=True)
class EnvironmentClass:
    """A class that is an environment, as far as its bases tell: `base` is which one it has."""

    name: str
    base: str
    path: str
    line: int


@dataclass(frozen=True)
class CodeFacts:
    """What the syntax tells: what `load_environment` takes, None where it is not plainly defined,
    and which classes are environments.
    """

    parameters: Parameters | None = None
    classes: tuple[EnvironmentClass, ...] = ()


def code_facts(modules: Iterable[Module]) -> CodeFacts:
    """Return what the modules that may be run tell of themselves."""
    taken = None
    classes: list[EnvironmentClass] = []
    for module in modules:
        if module.path == ENTRY_POINTS[0]:
            found = _function(module, _FACTORIES[module.path])
            taken = _parameters(found.args) if found else None
        for each, base in _environments(module):
            classes.append(EnvironmentClass(each.name, base, module.path, each.lineno))
    return CodeFacts(taken, tuple(classes))


def check_factories(modules: Iterable[Module]) -> Iterator[Finding]:
    """Yield a finding for an entry point that does not define its factory as a plain function."""
    for module in modules:
        factory = _FACTORIES.get(module.path)
        if factory is None:
            continue
        found = _function(module, factory)
        if isinstance(found, ast.AsyncFunctionDef):
            yield _error(
                module,
                found.lineno,
                "entry_point_invalid",
                f"`{factory}` is `async`; nobody awaits it.",
            )
        elif found is None and not _may_bind(module, factory):
            yield _error(
                module, None, "entry_point_invalid", f"{module.path} does not define `{factory}`."
            )


def check_params(
    taken: Parameters, params: Mapping[str, JsonValue], config: str
) -> Iterator[Finding]:
    """Compare a config's parameters with those that `load_environment` takes."""
    ignored = [] if taken.takes_any else [name for name in params if name not in taken.names]
    if ignored:
        yield Finding(
            "param_ignored",
            Severity.WARNING,
            f"`load_environment` takes no {_listed(ignored)}, so it is dropped without a word.",
            path=config,
        )
    missing = [name for name in taken.required if name not in params]
    if missing:
        yield Finding(
            "param_missing",
            Severity.ERROR,
            f"`load_environment` needs {_listed(missing)}, which `params` does not give.",
            path=config,
        )


def check_hooks(modules: Iterable[Module]) -> Iterator[Finding]:
    """Yield a finding for each `async` method of an environment: what it returns is not awaited."""
    for module in modules:
        for found, _ in _environments(module):
            for method in found.body:
                if isinstance(method, ast.AsyncFunctionDef):
                    message = (
                        f"`{found.name}.{method.name}` is `async`; the contract awaits nothing."
                    )
                    yield _error(module, method.lineno, "hook_async", message)


def check_reach(
    modules: Sequence[Module], manifest: Manifest, declared: Iterable[str]
) -> Iterator[Finding]:
    """Yield what the code reaches for and will not get: secrets, the network, files elsewhere.

    `declared` are the names of secrets that the manifest or a config declares.
    """
    names = {*declared, *_COMMON_VARIABLES}
    for module in modules:
        calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
        yield from _variables(module, calls, names)
        yield from _absolute_paths(module, calls)
    if not manifest.network:
        yield from _network(modules)


def _variables(module: Module, calls: Sequence[ast.Call], names: set[str]) -> Iterator[Finding]:
    read = {(name, line) for name, line in _reads(module, calls) if name not in names}
    for name, line in sorted(read, key=lambda each: each[1]):
        secret = _SECRET_NAME.search(name) is not None
        severity = Severity.WARNING if secret else Severity.INFO
        message = (
            f"The code reads the variable {name}, which it will not have: name it under `secrets`."
        )
        yield Finding("secret_undeclared", severity, message, path=module.path, line=line)


def _reads(module: Module, calls: Sequence[ast.Call]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module.tree):
        match node:
            case ast.Subscript(ctx=ast.Load()) if _last_name(node.value) == "environ":
                if name := _text(node.slice):
                    yield name, node.lineno
    for call in calls:
        getter = _last_name(call.func)
        of_environ = (
            getter == "get"
            and isinstance(call.func, ast.Attribute)
            and _last_name(call.func.value) == "environ"
        )
        if (of_environ or getter == "getenv") and call.args and (name := _text(call.args[0])):
            yield name, call.lineno


def _absolute_paths(module: Module, calls: Sequence[ast.Call]) -> Iterator[Finding]:
    for call in calls:
        text = _text(call.args[0]) if call.args else None
        if text and _last_name(call.func) in _TAKES_PATH and _ABSOLUTE.match(text):
            message = f"{text!r} is a path on the author's machine; start from `Path(__file__)`."
            yield Finding(
                "absolute_path", Severity.WARNING, message, path=module.path, line=call.lineno
            )


def _network(modules: Iterable[Module]) -> Iterator[Finding]:
    for module in modules:
        for each in imports_of(module):
            names = {each.module, *(f"{each.module}.{member}" for member in each.members)}
            if each.need is not Need.OPTIONAL and names & _NETWORK:
                message = (
                    f"The code imports `{min(names & _NETWORK)}`, but the manifest does not say "
                    "`network = true`: it runs without a network."
                )
                yield Finding(
                    "network_undeclared",
                    Severity.WARNING,
                    message,
                    path=module.path,
                    line=each.line,
                )
                break


def _function(module: Module, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the last plain definition of a function at the module's top level."""
    found = [
        node
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    return found[-1] if found else None


def _may_bind(module: Module, name: str) -> bool:
    """Say whether a name may come about in another way: assigned, imported, by a star. A module that
    raises before its end is left to be run.
    """
    if any(isinstance(node, ast.Raise) for node in module.tree.body):
        return True
    for node in ast.walk(module.tree):
        match node:
            case ast.alias() if (node.asname or node.name) in (name, "*"):
                return True
            case ast.Name(ctx=ast.Store()) if node.id == name:
                return True
            case ast.FunctionDef() | ast.ClassDef() if node.name in (name, "__getattr__"):
                return True
    return False


def _parameters(arguments: ast.arguments) -> Parameters:
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    required = positional[: len(positional) - len(arguments.defaults)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    required += [each.arg for each, default in keywords if default is None]
    names = [each.arg for each in (*arguments.args, *arguments.kwonlyargs)]
    return Parameters(tuple(names), tuple(required), takes_any=arguments.kwarg is not None)


def _environments(module: Module) -> Iterator[tuple[ast.ClassDef, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            base = next(filter(None, map(_base, node.bases)), None)
            if base:
                yield node, base


def _base(node: ast.expr) -> str | None:
    name = _last_name(node)
    return name if name in _BASES else None


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
    return None


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _error(module: Module, line: int | None, code: str, message: str) -> Finding:
    return Finding(code, Severity.ERROR, message, path=module.path, line=line)
