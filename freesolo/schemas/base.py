"""What all wire models share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Wire(BaseModel):
    """Base of every request and response. Unknown keys are ignored, so that peers may differ in age."""

    model_config = ConfigDict(frozen=True)


class Page(Wire):
    """Base of every listing that comes in pages: `next_cursor` asks for the next, None is the last."""

    next_cursor: str | None = None


class Artifact(Wire):
    """A folder kept in the blob store: `tree_digest` names its content, `archive_digest` its bytes."""

    tree_digest: Digest
    archive_digest: Digest
    size: int = Field(ge=0, description="Bytes of the archive.")
