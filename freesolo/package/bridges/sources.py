"""What `freesolo init --from` understands: LIBRARY:NAME."""

from freesolo.domain.suggest import did_you_mean
from freesolo.errors import InvalidInput
from freesolo.package.bridges.reasoning_gym import find_task
from freesolo.package.bridges.verifiers import find_environment
from freesolo.package.templates import Source
from freesolo.runtime.client import HostOptions

_LIBRARIES = ("reasoning-gym", "verifiers")


def find_source(text: str, options: HostOptions) -> Source:
    """Return what LIBRARY:NAME names. `options` say how a library is asked for its tasks.

    Raise `InvalidInput` for another library, and what the libraries raise for their names.
    """
    library, _, name = text.partition(":")
    if library not in _LIBRARIES:
        raise InvalidInput(
            f"{library!r} is no library that environments are made from.",
            hint=did_you_mean(library, _LIBRARIES) or f"There are: {', '.join(_LIBRARIES)}.",
        )
    if not name:
        raise InvalidInput(
            f"{text!r} names nothing of the library.",
            hint="Write reasoning-gym:TASK or verifiers:ENVIRONMENT.",
        )
    return find_task(name, options) if library == "reasoning-gym" else find_environment(name)
