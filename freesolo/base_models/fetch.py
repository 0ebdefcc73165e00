"""Fetch a base model from the Hugging Face hub into a folder: one commit, and nothing that runs.

Weights come as safetensors; pickles and Python files stay where they are. Run as its own process,
which answers an `Order`, so that nobody else has to import the hub's client, and so that it reaches
the network also where a training process must not::

    python -m freesolo.base_models.fetch
"""

import errno
import glob
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from freesolo.base_models.children import reply
from freesolo.base_models.questions import Fetched, Order
from freesolo.errors import (
    Forbidden,
    FreesoloError,
    InvalidBaseModel,
    InvalidInput,
    ModelNotFound,
    StorageFull,
    Unavailable,
)

# What `transformers` and vLLM read of a model without running any code of it.
_READ = (".safetensors", ".json", ".jinja", ".model", ".txt")
# The same weights in another layout, which would be fetched for nothing.
_TWICE = ("consolidated", "pytorch_model", "tf_model", "flax_model", "original")
_WEIGHTS = ".safetensors"
_ACCESS = (
    "Get access on its page, then give a token that may read it: FREESOLO_TRAIN_HF_TOKEN for "
    "workers, FREESOLO_SERVE_HF_TOKEN for gateways, HF_TOKEN for the command line."
)


def fetch(order: Order) -> Fetched:
    """Make `order.folder` hold the model, all of it or nothing; return at once if it is there.

    Whoever asks meanwhile waits. What had arrived when a fetch was interrupted is not fetched again.
    """
    target = order.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")), _in_words(order):
        if target.is_dir():
            return Fetched(commit=order.revision)
        # As the cache names what is just being made.
        partial = target.with_name(f".{target.name}-partial")
        fetched = _download(order, partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        partial.rename(target)
    return fetched


def _download(order: Order, folder: Path) -> Fetched:
    from huggingface_hub import HfApi, snapshot_download

    # Without one the client looks where `hf auth login` and HF_TOKEN put theirs.
    token = order.token.get_secret_value() if order.token else None
    info = HfApi().model_info(order.repo, revision=order.revision, files_metadata=True, token=token)
    wanted = _wanted(order, info.siblings or [])
    _require_room(order, folder, wanted)
    get = partial(snapshot_download, order.repo, revision=info.sha, local_dir=folder, token=token)
    if order.weights:
        # A look at what it is, before gigabytes of it arrive.
        get(allow_patterns=["config.json"])
        _require_native(order, folder)
    get(allow_patterns=[glob.escape(file.rfilename) for file in wanted])
    for file in wanted:
        _require_whole(order, folder, file)
    return Fetched(
        commit=info.sha or order.revision,
        parameters=info.safetensors.total if info.safetensors else None,
    )


def _wanted(order: Order, files: Sequence[Any]) -> list[Any]:
    """Return the files to fetch; raise `InvalidBaseModel` if they make no model."""
    names = [file.rfilename for file in files]
    readable = [
        file
        for file in files
        if "/" not in file.rfilename
        and file.rfilename.endswith(_READ)
        and not file.rfilename.startswith(_TWICE)
    ]
    if "config.json" not in names:
        raise InvalidBaseModel(
            f"{order.repo} has no config.json: it is no model in the layout of `transformers`.",
            hint="An adapter or a GGUF file is no base model; name the repository it was made from.",
        )
    if not any(file.rfilename.endswith(_WEIGHTS) for file in readable):
        raise InvalidBaseModel(
            f"{order.repo} has no weights as safetensors; pickled ones, which can run code, are not "
            "fetched.",
            hint="Look for a revision or a repository with safetensors.",
        )
    if order.weights:
        return readable
    return [file for file in readable if not file.rfilename.endswith(_WEIGHTS)]


def _require_room(order: Order, folder: Path, wanted: Sequence[Any]) -> None:
    needed = sum(file.size or 0 for file in wanted)
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder.parent).free
    if needed - there > free:
        raise StorageFull(
            f"{order.repo} takes {_gib(needed)}, and the disk of {folder.parent} has {_gib(free)} "
            "left.",
            hint="Free some space, or move the cache to a larger disk.",
        )


def _require_whole(order: Order, folder: Path, file: Any) -> None:  # noqa: ANN401 - the client's
    """Raise `Unavailable` unless a file is as the hub says, and forget one that is not."""
    path = folder / file.rfilename
    whole = path.is_file() and file.size in (None, path.stat().st_size)
    if whole and file.lfs is not None:
        with path.open("rb") as content:
            whole = hashlib.file_digest(content, "sha256").hexdigest() == file.lfs.sha256
    if not whole:
        path.unlink(missing_ok=True)
        raise Unavailable(
            f"{file.rfilename} of {order.repo} did not arrive as the Hugging Face hub has it.",
            hint="Try again; what has arrived whole is kept.",
        )


def _require_native(order: Order, folder: Path) -> None:
    """Raise `InvalidBaseModel` for a model that `transformers` knows only with code of the model's."""
    config = json.loads((folder / "config.json").read_text())
    kind = str(config.get("model_type"))
    if "auto_map" in config and kind not in _architectures():
        raise InvalidBaseModel(
            f"{order.repo} is a {kind!r} with code of its own, which is not run.",
            hint="Use a model whose architecture the installed `transformers` knows.",
        )


def _architectures() -> Collection[str]:
    # It takes seconds to import, and is asked only of models that bring code along.
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    names: Collection[str] = CONFIG_MAPPING_NAMES.keys()
    return names


@contextmanager
def _in_words(order: Order) -> Iterator[None]:
    """Raise what the hub's client raises as errors of ours."""
    from huggingface_hub import constants, errors

    name = f"{order.repo}@{order.revision}"
    try:
        yield
    except FreesoloError:
        raise
    except errors.GatedRepoError:
        raise Forbidden(
            f"{order.repo} is gated: its authors decide who may have it.", hint=_ACCESS
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelNotFound(
            f"{constants.ENDPOINT} has no model {order.repo!r}, or none that this token may read.",
            hint=f"If it is private: {_ACCESS}",
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelNotFound(
            f"{order.repo} has no revision {order.revision!r}.",
            hint="Its page lists branches, tags and commits.",
        ) from None
    except errors.HFValidationError as error:
        raise InvalidInput(f"{name} names no model: {error}.") from None
    except errors.HfHubHTTPError as error:
        raise _refused(name, error.response.status_code) from None
    except (errors.HTTPError, errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise Unavailable(
            f"{name} cannot be fetched: {constants.ENDPOINT} did not answer "
            f"({type(error).__name__}).",
            hint="Does this machine reach it? HF_ENDPOINT names a mirror. Without one, put the model's "
            "folder on every machine and add it by its path.",
        ) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StorageFull(
            f"The disk is full: {order.folder.parent}.",
            hint="Free some space; what has arrived is kept.",
        ) from None


def _refused(name: str, status: int) -> FreesoloError:
    if status in (401, 403):
        return Forbidden(f"{name} may not be read with this token.", hint=_ACCESS)
    return Unavailable(f"{name} cannot be fetched: the Hugging Face hub answered {status}.")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


if __name__ == "__main__":
    reply(Order, fetch)
