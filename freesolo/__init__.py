"""Freesolo: describe a task, train an adapter on it, serve it.

`freesolo.load("org/name")` returns a published environment, for a trainer of your own;
`freesolo.OpenAI` and `freesolo.AsyncOpenAI` are the official clients, led to a Freesolo gateway.

Importing this package needs only the standard library, so that `freesolo.environments` and
`freesolo.datasets` work in the interpreter of an environment that has none of our dependencies.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freesolo.environments import Environment
    from freesolo.openai_client import AsyncOpenAI, OpenAI

__all__ = ["AsyncOpenAI", "OpenAI", "load"]

__version__ = "0.1.0"

_CLIENTS = ("AsyncOpenAI", "OpenAI")


def load(ref: str, **params: object) -> "Environment":
    """Return a published environment, loaded in this interpreter with `params`.

    This runs its author's code here, with all that this process may do. `ref` is `org/name`, with a
    version, range, channel or digest after an `@` if wanted. What the current folder's
    `freesolo.lock` holds comes first, then what the hub says. The files come from the cache or the
    hub, and are verified. The Python packages that the environment needs must be importable here:
    `RequirementMissing`, an `ImportError`, names those that are not. Any other exception is the
    author's.
    """
    environment: Environment = importlib.import_module("freesolo.loading").load(ref, params)
    return environment


def __getattr__(name: str) -> object:
    if name in _CLIENTS:
        return getattr(importlib.import_module("freesolo.openai_client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
