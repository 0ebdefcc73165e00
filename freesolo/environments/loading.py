"""Import an author's module and call its factory. This runs their code: only a host does it."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from freesolo.datasets.records import load_task_examples
from freesolo.environments.base import Environment, EnvironmentMultiTurn, EnvironmentSingleTurn

_ENTRY_POINT = "environment.py"
_DEFAULT_FILE = Path("freesolo", _ENTRY_POINT)


def load_environment(reference: str | None = None, **kwargs: object) -> Environment:
    """Call the `load_environment` of a module, or the factory that `reference` names.

    `reference` is `path/to/file.py`, `package.module`, or either with `:factory`. The factory gets
    those of `kwargs` that it names, or all if it takes `**kwargs`; its exceptions pass unchanged.
    Raise `TypeError` if it returns anything but an environment.
    """
    return _load(reference, kwargs)


def build_environment(reference: str | None, params: Mapping[str, object]) -> Environment:
    """Do what `load_environment` does, for a run: `params` may have any names.

    An environment that leaves its `dataset` open gets the rows of `dataset/<split>.jsonl`, or
    `.json`, beside its file, if there are any; `split` is the parameter of that name, or `train`.
    """
    environment = _load(reference, params)
    if getattr(environment, "dataset", None) is None:
        file = _dataset_file(reference, str(params.get("split", "train")))
        if file is not None:
            vars(environment)["dataset"] = load_task_examples(file)
    return environment


def _load(reference: str | None, params: Mapping[str, object]) -> Environment:
    result = call_factory(
        reference, params, default_name="load_environment", default_file=_DEFAULT_FILE
    )
    if inspect.iscoroutine(result):
        result.close()
    if not isinstance(result, EnvironmentSingleTurn | EnvironmentMultiTurn):
        raise TypeError(
            f"load_environment returned {type(result).__name__}, not an instance of "
            "EnvironmentSingleTurn or EnvironmentMultiTurn"
        )
    return result


def _dataset_file(reference: str | None, split: str) -> Path | None:
    location, _ = _split(reference, "", _DEFAULT_FILE)
    folder = Path(location).parent / "dataset"
    files = [folder / f"{split}{suffix}" for suffix in (".jsonl", ".json")]
    return next((file for file in files if file.is_file()), None)


def offer_modules(folders: Mapping[str, str]) -> None:
    """Make published environments importable by the names of their modules, as their wheels would.

    `folders` maps `fsenv_acme_tools` to the folder with the files of acme/tools: afterwards
    `fsenv_acme_tools.load_environment()` and `import fsenv_acme_tools.files.scoring` work.
    """
    for name, folder in folders.items():
        offered = sys.modules.get(name)
        if getattr(offered, "FOLDER", None) == Path(folder):
            continue
        for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[loaded]
        files = ModuleType(f"{name}.files")
        files.__path__ = [folder]
        module = ModuleType(name)
        module.__path__ = []
        module.__dict__.update(
            FOLDER=Path(folder), files=files, load_environment=_loader_of(Path(folder))
        )
        sys.modules.update({name: module, files.__name__: files})


def _loader_of(folder: Path) -> Callable[..., Environment]:
    def load_environment(**params: object) -> Environment:
        return build_environment(str(folder / _ENTRY_POINT), params)

    return load_environment


def call_factory(
    reference: str | None,
    kwargs: Mapping[str, object],
    *,
    default_name: str,
    default_file: Path,
) -> object:
    """Find the factory that `reference` names and call it with what it accepts of `kwargs`."""
    location, name = _split(reference, default_name, default_file)
    path = Path(location)
    if path.suffix != ".py" and not path.is_file():
        return _call(getattr(importlib.import_module(location), name), kwargs, location=location)
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}")
    with _own_modules_first(path.parent):
        return _call(getattr(_import_file(path), name), kwargs, location=location)


def _call(factory: object, kwargs: Mapping[str, object], *, location: str) -> object:
    if not callable(factory):
        raise TypeError(
            f"{getattr(factory, '__name__', factory)!r} of {location} is not a function"
        )
    parameters = inspect.signature(factory).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    accepted = {key: value for key, value in kwargs.items() if takes_all or key in named}
    result: object = factory(**accepted)
    return result


def _split(reference: str | None, default_name: str, default_file: Path) -> tuple[str, str]:
    if reference is None or not reference.strip():
        if not default_file.is_file():
            raise ValueError(f"No reference was given and there is no {default_file.as_posix()}")
        return str(default_file), default_name
    location, _, name = reference.partition(":")
    return location.strip(), name.strip() or default_name


@contextmanager
def _own_modules_first(folder: Path) -> Iterator[None]:
    """Let the code in `folder` import the modules beside it, whatever another environment's are named.

    Python knows modules by their names alone, and two environments may both have a `rewards.py`.
    While one is loaded, the other's modules of the same names are put aside; afterwards they are back,
    and the folder stays on the path behind those of the environments that were loaded before.
    """
    own = str(folder)
    others = [entry for entry in sys.path if entry != own and Path(entry, _ENTRY_POINT).is_file()]
    ahead = others
    if own in sys.path:
        ahead = [entry for entry in others if sys.path.index(entry) < sys.path.index(own)]
    aside = _take_modules(_module_names(own), others)
    _put_on_path(own, behind=[])
    try:
        yield
    finally:
        _put_on_path(own, behind=ahead)
        _take_modules({name for entry in ahead for name in _module_names(entry)}, [own])
        sys.modules.update(aside)


def _module_names(folder: str) -> set[str]:
    return {path.stem for path in Path(folder).iterdir() if path.suffix == ".py" or path.is_dir()}


def _take_modules(names: Collection[str], folders: Sequence[str]) -> dict[str, ModuleType]:
    """Forget the modules that were imported by these names from these folders; return them."""
    found = {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in names
        and any(
            Path(place).is_relative_to(folder) for place in _places(module) for folder in folders
        )
    }
    for name in found:
        del sys.modules[name]
    return found


def _places(module: ModuleType) -> list[str]:
    """Return where a module was read from: a file, the folders of a package without one, or nowhere."""
    file = getattr(module, "__file__", None)
    return [file] if file else list(getattr(module, "__path__", ()))


def _put_on_path(folder: str, *, behind: Sequence[str]) -> None:
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(max(map(sys.path.index, behind), default=-1) + 1, folder)


def _import_file(path: Path) -> ModuleType:
    name = f"_freesolo_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if previous is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = previous
        raise
    return module
