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
    if library not in _LIBRARIES or not name:
        raise InvalidInput(
            f"{text!r} is not the task of a library that is known here.",
            hint=did_you_mean(library, _LIBRARIES)
            or "Write reasoning-gym:TASK or verifiers:ENVIRONMENT.",
        )
    return find_task(name, options) if library == "reasoning-gym" else find_environment(name)
