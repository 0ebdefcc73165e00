"""`python -m hub_server` as a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from freesolo.errors import InvalidInput
from hub_server.app import create_app, load_catalog
from hub_server.settings import HubSettings
from tests.component.hub.harness import SettableClock


def command(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the hub's command on a data folder."""
    return subprocess.run(
        [sys.executable, "-m", "hub_server", *arguments],
        env={"FREESOLO_SERVER_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_key_made_on_a_fresh_folder_is_a_members(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "hub"
    assert command(data_dir, "migrate").returncode == 0
    made = json.loads(command(data_dir, "create-key", "--org", "acme", "--name", "me").stdout)
    assert made["api_key"].startswith("fslo_")
    assert (made["org"], made["name"]) == ("acme", "me")
    assert "worker" not in made["scopes"]


@pytest.mark.parametrize("exists", [True, False])
def test_what_the_hub_writes_is_its_owners_alone(tmp_path: Path, exists: bool) -> None:
    data_dir = tmp_path / "hub"
    if exists:
        data_dir.mkdir(mode=0o755)
    assert command(data_dir, "migrate").returncode == 0
    assert (data_dir / "hub.db").stat().st_mode & 0o077 == 0
    assert exists or data_dir.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "arguments", [["--name", "x"], ["--name", "x", "--org", "acme", "--scope", "worker"]]
)
def test_a_key_is_either_a_members_or_a_services(tmp_path: Path, arguments: list[str]) -> None:
    result = command(tmp_path, "create-key", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_a_key_on_a_database_without_tables_is_told_how_to_make_them(tmp_path: Path) -> None:
    result = command(tmp_path, "create-key", "--name", "x", "--org", "acme")
    assert result.returncode == 8
    assert "no such table: orgs" in result.stderr
    assert "python -m hub_server migrate" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_catalog_file_that_is_not_there_is_named(hub_settings: HubSettings) -> None:
    settings = hub_settings.model_copy(update={"catalog": Path("/nowhere/catalog.toml")})
    with pytest.raises(InvalidInput, match="/nowhere/catalog"):
        load_catalog(settings)


def test_a_catalog_file_adds_models(hub_settings: HubSettings, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        '[[model]]\nid = "acme/tiny"\nrevision = "1"\nparameters = 1\ncontext = 128\n'
        f'max_rank = 8\nsource = {{ kind = "path", path = "{tmp_path}" }}\n'
    )
    settings = hub_settings.model_copy(update={"catalog": catalog})
    app = create_app(settings, clock=SettableClock())
    assert "acme/tiny" in app.state.resources.catalog
