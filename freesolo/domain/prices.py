"""What tokens cost: integers of pico-dollars, so that no sum is ever rounded (pure)."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from freesolo.domain.catalog import BaseModelEntry, Price
from freesolo.errors import InvalidInput

PICO_DOLLARS = 10**12
# Four million dollars: SQLite and PostgreSQL hold the sum of two such amounts in one number. No request
# of a base model's longest context at the dearest price costs as much.
MOST = 4 * 10**18
# Tokens that a chat template writes around each message, and around all of them, at the most.
_AROUND_MESSAGE, _AROUND_ALL = 16, 256


class Prices(BaseModel):
    """Pico-dollars a token: of the prompt, of that part of it which was cached, and of the answer."""

    model_config = ConfigDict(frozen=True)

    prompt: Price
    cached: Price
    completion: Price


class Counts(Protocol):
    """Tokens as an engine counts them; `cached_tokens` are part of `prompt_tokens`."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens that were read."""

    @property
    def cached_tokens(self) -> int:
        """How many of them had been read before."""

    @property
    def completion_tokens(self) -> int:
        """Tokens that were said."""


@dataclass(frozen=True)
class Asked:
    """The size of a request before anything is known of its tokens.

    `text_bytes` is the length of all its text in UTF-8, `answers` how many it wants and
    `answer_tokens` the most that each may have.
    """

    text_bytes: int
    messages: int
    answers: int
    answer_tokens: int


def prices_of(model: BaseModelEntry) -> Prices:
    """Return what the tokens of a base model cost, with an adapter or without."""
    cached = model.price_cached
    return Prices(
        prompt=model.price_input,
        cached=model.price_input if cached is None else cached,
        completion=model.price_output,
    )


def cost(prices: Prices, counts: Counts) -> int:
    """Return what tokens cost, in pico-dollars."""
    read = counts.prompt_tokens - counts.cached_tokens
    return (
        read * prices.prompt
        + counts.cached_tokens * prices.cached
        + counts.completion_tokens * prices.completion
    )


def most(prices: Prices, asked: Asked) -> int:
    """Return what a request costs at the most, in pico-dollars.

    No tokenizer of bytes makes more tokens of a text than it has bytes.
    """
    prompt = asked.text_bytes + asked.messages * _AROUND_MESSAGE + _AROUND_ALL
    dearest = max(prices.prompt, prices.cached)
    return prompt * dearest + asked.answers * asked.answer_tokens * prices.completion


def dollars(amount: int) -> str:
    """Write pico-dollars as dollars, without rounding: `-0.0000024`."""
    return f"{Decimal(amount).scaleb(-12).normalize():f}"


def from_dollars(text: str) -> int:
    """Read dollars, as in `12.50`. Raise `InvalidInput` for what is no amount."""
    try:
        amount = Decimal(text) * PICO_DOLLARS
    except ArithmeticError:
        raise InvalidInput(f"{text!r} is no amount in dollars, such as 12.50.") from None
    if not amount.is_finite() or amount != amount.to_integral_value() or abs(amount) > MOST:
        raise InvalidInput(
            f"{text!r} dollars cannot be kept.",
            hint="Amounts have at most 12 digits behind the point, and are four million at most.",
        )
    return int(amount)
