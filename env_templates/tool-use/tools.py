"""The shop's tools. They run here, in the environment; the model only writes down what it calls.

A tool takes the shop's books and its own arguments. It raises `ToolError` with a message for the
model, which may then try again.
"""

import json
from collections.abc import Callable
from typing import Any

Shop = dict[str, Any]

MANUAL = """\
get_order(order): what was ordered, how many, and the city it goes to
get_price(item): the price of one piece
multiply(a, b): a times b"""
LARGEST = 10**6


class ToolError(Exception):
    """A tool was called with something it cannot work on."""


def get_order(shop: Shop, order: int) -> dict[str, object]:
    """Return an order by its number."""
    if str(order) not in shop["orders"]:
        raise ToolError(f"there is no order {order!r:.40}")
    return shop["orders"][str(order)]


def get_price(shop: Shop, item: str) -> dict[str, object]:
    """Return the price of an item."""
    if str(item) not in shop["prices"]:
        raise ToolError(f"there is no item {item!r:.40}")
    return {"price": shop["prices"][str(item)]}


def multiply(shop: Shop, a: int, b: int) -> dict[str, object]:
    """Return a product of whole numbers."""
    for factor in (a, b):
        if type(factor) is not int or abs(factor) > LARGEST:
            raise ToolError(f"{factor!r:.40} is no whole number up to {LARGEST}")
    return {"product": a * b}


TOOLS: dict[str, Callable[..., dict[str, object]]] = {
    "get_order": get_order,
    "get_price": get_price,
    "multiply": multiply,
}
PARAMETERS = {"get_order": {"order"}, "get_price": {"item"}, "multiply": {"a", "b"}}


def read_action(text: str) -> dict[str, Any] | None:
    """Return a call, `{"tool": ..., "arguments": {...}}`, or an `{"answer": ...}`; None for neither."""
    try:
        action = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match action:
        case {"tool": str(), "arguments": dict(), **rest} if not rest:
            return action
        case {"answer": str() | int(), **rest} if not rest:
            return action
    return None


def run_tool(shop: Shop, action: dict[str, Any]) -> dict[str, object]:
    """Do what a call asks for and return the result. Raise `ToolError` if it cannot be done."""
    tool, arguments = action["tool"], action["arguments"]
    if tool not in TOOLS:
        raise ToolError(f"there is no tool {tool!r:.40}")
    if set(arguments) != PARAMETERS[tool]:
        raise ToolError(f"{tool} takes {', '.join(sorted(PARAMETERS[tool]))}")
    return TOOLS[tool](shop, **arguments)
