"""Import an author's module and call its factory. This runs their code: only a host does it."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from freesolo.environments.base import Environment, EnvironmentMultiTurn, EnvironmentSingleTurn

_DEFAULT_FILE = Path("freesolo", "environment.py")


def load_environment(reference: str | None = None, **kwargs: object) -> Environment:
    """Call the `load_environment` of a module, or the factory that `reference` names.

    `reference` is `path/to/file.py`, `package.module`, or either with `:factory`. The factory gets
    those of `kwargs` that it names, or all if it takes `**kwargs`; its exceptions pass unchanged.
    Raise `TypeError` if it returns anything but an environment.
    """
    return build_environment(reference, kwargs)


def build_environment(reference: str | None, params: Mapping[str, object]) -> Environment:
    """Do what `load_environment` does, with parameters of any name."""
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
        return build_environment(str(folder / "environment.py"), params)

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
    factory = getattr(_import(location), name)
    if not callable(factory):
        raise TypeError(f"{name} of {location} is not a function")
    parameters = inspect.signature(factory).parameters
    takes_all = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    accepted = {key: value for key, value in kwargs.items() if takes_all or key in parameters}
    result: object = factory(**accepted)
    return result


def _split(reference: str | None, default_name: str, default_file: Path) -> tuple[str, str]:
    if reference is None or not reference.strip():
        if not default_file.is_file():
            raise ValueError(f"No reference was given and there is no {default_file.as_posix()}")
        return str(default_file), default_name
    location, _, name = reference.partition(":")
    return location.strip(), name.strip() or default_name


def _import(location: str) -> ModuleType:
    path = Path(location)
    if path.suffix == ".py" or path.is_file():
        return _import_file(path.resolve())
    return importlib.import_module(location)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}")
    name = f"_freesolo_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
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
