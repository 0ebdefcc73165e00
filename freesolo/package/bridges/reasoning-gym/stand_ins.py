"""Stand-ins for packages that reasoning-gym imports, and that only a few of its tasks use.

The package index holds them as source alone, and an environment's packages are installed from wheels.
A task that uses one of them fails, and says which; all others never notice.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

PACKAGES = ("cellpylib", "pycosat", "zss")


class StandIn(ModuleType):
    """A module that can be imported, and holds nothing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModuleNotFoundError(
            f"This task uses the package {self.__name__}, of which there is no wheel.",
            name=self.__name__,
        )


def put_stand_ins() -> None:
    """Let the packages that are not installed be imported all the same."""
    for name in PACKAGES:
        if name not in sys.modules and find_spec(name) is None:
            sys.modules[name] = StandIn(name)
