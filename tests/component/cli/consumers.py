"""What consumers' tests share: environments to publish, and files to look into."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from freesolo.client.hub import HubClient
from freesolo.domain.refs import EnvRef
from freesolo.package.files import load_manifest
from tests.environment_folders import SOUND, write_environment
from tests.factories import pack_folder
from tests.hubs import ORG, LiveHub

# Publishes a folder and returns its tree digest.
Publish = Callable[[Path], str]

# Scores through the marks of local/tools.
BUILDS_ON_TOOLS = SOUND.replace(
    "from freesolo.environments import",
    "from fsenv_local_tools.files.marks import full\nfrom freesolo.environments import",
).replace("RewardResult(float(", "RewardResult(full() * float(")
MARKS = "def full():\n    return {full}\n"


def write_tools(version: str = "1.0", *, full: float = 1.0) -> Path:
    """Write local/tools into a folder of its own, and return it."""
    folder = Path(f"sources/tools-{version}")
    return write_environment(
        folder, SOUND, manifest=manifest("tools", version), marks=MARKS.format(full=full)
    )


def write_math(version: str = "1.0", *, on: str = "", code: str = SOUND, lines: str = "") -> Path:
    """Write local/math; `on` is what it builds on."""
    builds_on = f'environments = ["{on}"]\n' if on else ""
    text = f"{manifest('math', version)}{builds_on}{lines}"
    return write_environment(Path(f"sources/math-{version}"), code, manifest=text)


def manifest(name: str, version: str) -> str:
    """Return the text of an `environment.toml`."""
    return (
        f'[environment]\nname = "{name}"\nversion = "{version}"\n'
        'summary = "A task for tests."\nlicense = "MIT"\n'
    )


def publish_folder(hub: LiveHub, folder: Path) -> str:
    """Publish a folder as it is, without the checks of `freesolo publish`."""
    manifest = load_manifest(folder)
    with HubClient(hub.url, hub.user_key) as client:
        ref = EnvRef(ORG, manifest.name)
        return client.publish(ref, manifest.version, pack_folder(folder)).tree_digest


def hub_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the command line at an address where nobody listens."""
    monkeypatch.setenv("FREESOLO_HUB_URL", "http://127.0.0.1:1")


def read_toml(path: str) -> dict[str, Any]:
    """Return a TOML file of the current folder."""
    return tomllib.loads(Path(path).read_text())
