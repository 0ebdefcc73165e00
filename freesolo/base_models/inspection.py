"""Look at a model that may join the catalog, in a folder or on the Hugging Face hub."""

import hashlib
import tempfile
from pathlib import Path

from pydantic import SecretStr

from freesolo.base_models.children import ask
from freesolo.base_models.questions import Order, Subject
from freesolo.base_models.store import look_up
from freesolo.domain.conformance import Inspection
from freesolo.errors import InvalidBaseModel

# To import what reads a template takes ten seconds, on a busy machine a minute; a template that never
# ends takes longer.
_PATIENCE = 300.0


def inspect_folder(folder: Path) -> Inspection:
    """Check the model in a folder."""
    return _inspect(Subject(folder=folder))


def inspect_repository(
    repo: str, revision: str, *, hf_token: SecretStr | None = None
) -> tuple[str, Inspection]:
    """Check a model on the Hugging Face hub; return the commit that `revision` means now, and it.

    Everything but the weights is fetched for it, and thrown away again.
    """
    with tempfile.TemporaryDirectory(prefix="freesolo-model-") as scratch:
        folder = Path(scratch, "model")
        fetched = look_up(
            Order(repo=repo, revision=revision, folder=folder, weights=False, token=hf_token)
        )
        if fetched.parameters is None:
            raise InvalidBaseModel(
                f"The Hugging Face hub does not say how many parameters {repo} has.",
                hint="Download the model and add it by its path.",
            )
        found = _inspect(Subject(folder=folder, weights=False))
    return fetched.commit, found.model_copy(update={"parameters": fetched.parameters})


def folder_revision(folder: Path) -> str:
    """Return what names the model in a folder: the digest of its files and their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{content}  {path.name}\n".encode())
    return f"sha256-{digest.hexdigest()[:40]}"


def _inspect(subject: Subject) -> Inspection:
    return ask("freesolo.base_models.conformance", subject, Inspection, timeout=_PATIENCE)
