"""freesolo.load: a published environment in this interpreter."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import freesolo
from freesolo.cli.main import run
from freesolo.errors import RequirementMissing, VersionNotFound
from tests.component.cli.consumers import (
    BUILDS_ON_TOOLS,
    hub_is_gone,
    publish_folder,
    write_math,
    write_tools,
)
from tests.environment_folders import SOUND
from tests.hubs import LiveHub


@pytest.fixture
def hub(live_hub: LiveHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveHub]:
    """A live hub that the settings lead to, an empty current folder, and modules put back."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("FREESOLO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FREESOLO_HUB_URL", live_hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", live_hub.user_key)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield live_hub
    for name in set(sys.modules) - before:
        if name.startswith(("fsenv_", "_freesolo_")):
            del sys.modules[name]


def test_an_environment_is_loaded_with_its_parameters(hub: LiveHub) -> None:
    code = SOUND.replace("def load_environment():", "def load_environment(rows=8):").replace(
        "return Sums()", "sums = Sums()\n    sums.dataset = sums.dataset[:rows]\n    return sums"
    )
    publish_folder(hub, write_math(code=code))

    environment = freesolo.load("local/math", rows=3)

    assert len(environment.dataset) == 3  # type: ignore[attr-defined]
    assert type(environment).__name__ == "Sums"


def test_what_it_builds_on_comes_along(hub: LiveHub) -> None:
    publish_folder(hub, write_tools(full=0.5))
    publish_folder(hub, write_math(on="local/tools", code=BUILDS_ON_TOOLS))

    freesolo.load("local/math")

    assert sys.modules["fsenv_local_tools"].FOLDER.is_dir()


def test_another_version_of_what_it_builds_on_takes_the_place_of_the_first(hub: LiveHub) -> None:
    publish_folder(hub, write_tools("1.0", full=0.25))
    publish_folder(hub, write_tools("2.0", full=0.75))
    publish_folder(hub, write_math("1.0", on="local/tools<2", code=BUILDS_ON_TOOLS))
    publish_folder(hub, write_math("2.0", on="local/tools>=2", code=BUILDS_ON_TOOLS))

    for version, full in (("1.0", 0.25), ("2.0", 0.75)):
        freesolo.load(f"local/math@{version}")
        assert sys.modules["fsenv_local_tools.files.marks"].full() == full


def test_a_locked_version_comes_before_the_newest_and_needs_no_hub(
    hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_folder(hub, write_math("1.0", code=f"{SOUND}\nSums.edition = 1"))
    assert run(["add", "local/math"]) == 0
    publish_folder(hub, write_math("1.1", code=f"{SOUND}\nSums.edition = 2"))
    hub_is_gone(monkeypatch)

    assert freesolo.load("local/math").edition == 1  # type: ignore[attr-defined]


def test_a_version_that_is_not_locked_is_asked_for_at_the_hub(hub: LiveHub) -> None:
    publish_folder(hub, write_math("1.0"))

    with pytest.raises(VersionNotFound, match=r"local/math@9\.9"):
        freesolo.load("local/math@9.9")


def test_a_missing_package_is_named_with_how_to_get_it(hub: LiveHub) -> None:
    publish_folder(
        hub,
        write_math(
            code=f"import not_here_at_all\n{SOUND}",
            lines='dependencies = ["not-here-at-all>=2", "pydantic"]\n',
        ),
    )

    with pytest.raises(ImportError) as refusal:
        freesolo.load("local/math")

    assert isinstance(refusal.value, RequirementMissing)
    assert "local/math 1.0 needs not-here-at-all>=2, which" in refusal.value.message
    assert f"{sys.executable} -m pip install 'not-here-at-all>=2'" in (refusal.value.hint or "")


def test_an_import_that_fails_for_another_reason_is_the_authors_own(hub: LiveHub) -> None:
    publish_folder(hub, write_math(code="import nowhere_to_be_found"))

    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found") as refusal:
        freesolo.load("local/math")
    assert not isinstance(refusal.value, RequirementMissing)


def test_another_python_than_it_needs_is_refused(hub: LiveHub) -> None:
    publish_folder(hub, write_math(lines='requires-python = ">=3.99"\n'))

    with pytest.raises(RequirementMissing, match=r"needs Python >=3\.99; this is 3"):
        freesolo.load("local/math")


def test_importing_freesolo_needs_only_the_standard_library(tmp_path: Path) -> None:
    package = tmp_path / "freesolo"
    package.mkdir()
    shutil.copy(Path(freesolo.__file__), package)
    code = "import sys, freesolo; assert freesolo.load; assert 'pydantic' not in sys.modules"

    ran = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, check=False)

    assert ran.returncode == 0
