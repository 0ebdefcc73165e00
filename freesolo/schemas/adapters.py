"""Adapters that a run builds on: which they are, and where their bytes lie."""

from pydantic import Field

from freesolo.domain.catalog import Algorithm, BaseModelEntry
from freesolo.schemas.base import Artifact, Digest, Wire
from freesolo.schemas.environments import EnvironmentPin


class AdapterPin(Wire):
    """One adapter of a run, for ever the same, and what it learned there."""

    run_id: str
    step: int
    tree_digest: Digest
    algorithm: Algorithm
    environment: EnvironmentPin


class AdapterLineage(AdapterPin):
    """An adapter, and those that it went on from, from its parent to the oldest."""

    ancestors: tuple[AdapterPin, ...] = ()


class PinnedAdapter(AdapterLineage):
    """An adapter that a run is bound to, as the hub keeps it."""

    archive_digest: Digest
    size: int = Field(ge=0, description="Bytes of the archive.")
    rank: int = Field(ge=1)

    @property
    def artifact(self) -> Artifact:
        """Return its folder in the blob store."""
        return Artifact(
            tree_digest=self.tree_digest, archive_digest=self.archive_digest, size=self.size
        )


class SavedAdapter(PinnedAdapter):
    """The answer of `GET /v1/adapters/{ref}`: one adapter of a run, to take elsewhere.

    `base_model` is the entry of the catalog that it was trained on; None once the catalog has another
    revision of that model, or none.
    """

    revision: str = Field(description="Its immutable name.")
    model: str
    model_revision: str
    base_model: BaseModelEntry | None = None
