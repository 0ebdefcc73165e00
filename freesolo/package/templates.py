"""Environments to start from, shipped with the package `env_templates`."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from freesolo.domain.refs import check_name
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import FolderNotEmpty, TemplateNotFound

_PACKAGE = "env_templates"
# Files in which `$name` stands for the new environment's name.
_SUBSTITUTED = frozenset({".toml", ".md"})
_NOT_SHIPPED = frozenset({"__pycache__"})


def list_templates() -> list[str]:
    """Return the names of the templates, sorted."""
    return sorted(
        entry.name for entry in files(_PACKAGE).iterdir() if (entry / "environment.py").is_file()
    )


def write_template(template: str, folder: Path, *, name: str) -> list[str]:
    """Copy a template to `folder` as the environment `name` and return the paths written.

    Raise `TemplateNotFound` naming the nearest one, and `FolderNotEmpty` rather than overwrite.
    """
    check_name(name, "environment")
    known = list_templates()
    if template not in known:
        raise TemplateNotFound(
            f"There is no template {template!r}.",
            hint=did_you_mean(template, known) or f"There are {', '.join(known)}.",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderNotEmpty(
            f"{folder} is not an empty folder.", hint="Choose another, or empty it first."
        )
    return sorted(_copy(files(_PACKAGE) / template, folder, PurePosixPath(), name))


def _copy(source: Traversable, folder: Path, below: PurePosixPath, name: str) -> list[str]:
    (folder / below).mkdir(parents=True, exist_ok=True)
    written = []
    for entry in source.iterdir():
        path = below / entry.name
        if entry.name in _NOT_SHIPPED:
            continue
        if entry.is_dir():
            written += _copy(entry, folder, path, name)
            continue
        content = entry.read_bytes()
        if path.suffix in _SUBSTITUTED:
            content = Template(content.decode()).safe_substitute(name=name).encode()
        (folder / path).write_bytes(content)
        written.append(str(path))
    return written
