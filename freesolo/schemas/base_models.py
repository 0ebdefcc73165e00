"""Base models that can be trained and served."""

from freesolo.domain.catalog import Algorithm, Source, TemplateFacts
from freesolo.schemas.base import Wire


class Model(Wire):
    """One line of `GET /v1/models` on the hub. Prices are pico-dollars a token.

    `added` is true for one that the org has added itself, and can remove.
    """

    id: str
    revision: str
    source: Source
    parameters: int
    context: int
    max_rank: int
    algorithms: list[Algorithm]
    thinking: bool
    reasoning_parser: str | None = None
    tool_parser: str | None = None
    template: TemplateFacts
    price_input: int
    price_output: int
    price_train: int
    added: bool


class ModelList(Wire):
    """The answer of `GET /v1/models` on the hub, by id. `POST /v1/models` takes an entry."""

    models: list[Model]
