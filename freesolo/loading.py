"""`freesolo.load`: a published environment in this interpreter, for people with a trainer of their own.

This runs its author's code here, with all that this process may do; `freesolo install`, `validate`
and training run it in a process of its own instead.
"""

import platform
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from freesolo.client.environments import Environments, Placed
from freesolo.client.hub import HubClient
from freesolo.config import ClientSettings, CredentialStore, connection
from freesolo.domain.refs import EnvRef
from freesolo.environments import Environment
from freesolo.environments.loading import build_environment, offer_modules
from freesolo.errors import RequirementMissing
from freesolo.runtime.client import ENTRY_POINT, Needs, needs_of


def load(ref: str, params: Mapping[str, object]) -> Environment:
    """Do what `freesolo.load` says."""
    warned: list[str] = []
    with ExitStack() as opened:
        environments = _environments(ClientSettings(), opened, tell=warned.append)
        placed = environments.place(EnvRef.parse(ref), Path.cwd())
    for text in warned:
        warnings.warn(text, stacklevel=3)
    return build_placed(placed, params)


def build_placed(placed: Placed, params: Mapping[str, object]) -> Environment:
    """Load an environment that is on this machine into this interpreter."""
    modules = placed.foundation.modules
    needs = needs_of(placed.folder, *modules.values())
    _refuse_other_python(placed, needs)
    offer_modules({name: str(folder) for name, folder in modules.items()})
    try:
        return build_environment(str(placed.folder / ENTRY_POINT), params)
    except ImportError as error:
        missing = missing_requirements(needs)
        if not missing:
            raise
        raise RequirementMissing(
            f"{placed.version} needs {', '.join(missing)}, which this interpreter does not have.",
            hint=f"`{sys.executable} -m pip install {' '.join(map(repr, missing))}` installs it.",
        ) from error


def missing_requirements(needs: Needs) -> list[str]:
    """Return the requirements that this interpreter does not meet."""
    requirements = [Requirement(text) for text in needs.requirements]
    return [str(wanted) for wanted in requirements if not _is_met(wanted)]


def _environments(
    settings: ClientSettings, opened: ExitStack, *, tell: Callable[[str], None]
) -> Environments:
    store = CredentialStore(settings.home_dir)

    def connect(hub_url: str | None) -> HubClient:
        chosen = connection(settings, store, to=hub_url)
        return opened.enter_context(HubClient(chosen.hub_url, chosen.api_key, org=chosen.org))

    return Environments(settings.cache, connect, tell=tell)


def _refuse_other_python(placed: Placed, needs: Needs) -> None:
    here = platform.python_version()
    if not SpecifierSet(needs.python).contains(here, prereleases=True):
        raise RequirementMissing(
            f"{placed.version} needs Python {needs.python}; this is {here}.",
            hint=f"Use such a Python, or `freesolo install {placed.version.id}`, which looks for one.",
        )


def _is_met(wanted: Requirement) -> bool:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
