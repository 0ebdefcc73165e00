"""What the children of this package are asked, and what they answer."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from freesolo.schemas.secrets import SentSecret


class Order(BaseModel):
    """What to fetch. Without `weights` only what is read to look at a model."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    repo: str
    revision: str
    folder: Path
    weights: bool = True
    token: SentSecret | None = None


class Fetched(BaseModel):
    """What was fetched: `commit` is what the revision means now."""

    model_config = ConfigDict(frozen=True)

    commit: str
    parameters: int | None = None


class Subject(BaseModel):
    """What to look at. Without `weights` the folder holds all but those."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    weights: bool = True


class Pair(BaseModel):
    """A base model and an adapter on it, and the new folder for what they are together."""

    model_config = ConfigDict(frozen=True)

    base: Path
    adapter: Path
    folder: Path


class Merged(BaseModel):
    """What a merged model is: its weights' type and number."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    parameters: int
