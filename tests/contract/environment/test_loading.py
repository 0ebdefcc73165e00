import sys
from pathlib import Path

import pytest

from freesolo.environments import has_evaluations, load_environment, load_evaluation_suites
from tests.contract.environment.clauses import clause
from tests.environment_folders import SOUND, write_environment

pytestmark = pytest.mark.usefixtures("restored_imports")


@clause("C6.1", "C6.2", "C6.4")
def test_a_file_is_loaded_with_its_siblings(tmp_path: Path) -> None:
    folder = write_environment(
        tmp_path, "from sibling_of_test import load_environment\n", sibling_of_test=SOUND
    )

    environment = load_environment(f" {folder / 'environment.py'} ")

    assert type(environment).__name__ == "Sums"
    assert sys.path[0] == str(folder)


def write_marked(folder: Path, mark: str) -> Path:
    """Write an environment that takes its mark from a module beside it, one that others have too."""
    code = SOUND.replace("def load_environment():", "import marks\n\n\ndef load_environment():")
    code = code.replace(
        "return Sums()", "sums = Sums()\n    sums.mark = marks.MARK\n    return sums"
    )
    return write_environment(folder, code, marks=f"MARK = {mark!r}\n")


def test_environments_with_modules_of_one_name_each_get_their_own(tmp_path: Path) -> None:
    folders = [write_marked(tmp_path / mark, mark) for mark in ("first", "second")]

    loaded = [load_environment(str(folder / "environment.py")) for folder in folders]

    assert [environment.mark for environment in loaded] == ["first", "second"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("imported", ["before", "after"])
def test_loading_another_environment_leaves_ones_own_modules_alone(
    tmp_path: Path, imported: str
) -> None:
    inner = write_marked(tmp_path / "inner", "inner")
    outer = write_marked(tmp_path / "outer", "outer")
    entry = outer / "environment.py"
    loads = (
        "from freesolo.environments import load_environment as load\n"
        f"inner = load({str(inner / 'environment.py')!r})\n"
    )
    code = entry.read_text().replace("sums.mark =", "sums.inner = inner.mark\n    sums.mark =")
    first = "import marks\n" if imported == "before" else ""
    entry.write_text(f"{first}{loads}{code}")

    environment = load_environment(str(entry))

    assert environment.mark == "outer"  # type: ignore[attr-defined]
    assert environment.inner == "inner"  # type: ignore[attr-defined]
    assert sys.path[:2] == [str(outer), str(inner)]


def test_a_module_of_pythons_own_is_not_taken_for_one_of_an_environment(tmp_path: Path) -> None:
    before = sys.modules["types"]
    for name in ("first", "second"):
        folder = write_environment(tmp_path / name, SOUND, types="", time="")
        load_environment(str(folder / "environment.py"))

    assert sys.modules["types"] is before


@clause("C6.1", "C6.2")
def test_another_factory_can_be_named(tmp_path: Path) -> None:
    folder = write_environment(tmp_path, f"{SOUND}\ndef other():\n    return Sums()\n")

    assert type(load_environment(f"{folder / 'environment.py'}:other")).__name__ == "Sums"


@clause("C6.3")
def test_without_a_reference_the_usual_place_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"freesolo/environment\.py"):
        load_environment()
    write_environment(tmp_path / "freesolo", SOUND)

    assert type(load_environment()).__name__ == "Sums"


@clause("C6.8")
def test_a_factory_gets_only_the_arguments_it_names(tmp_path: Path) -> None:
    code = SOUND.replace(
        "def load_environment():", "def load_environment(split):\n    assert split"
    )
    folder = write_environment(tmp_path, code)

    load_environment(str(folder / "environment.py"), split="train", other=1)


@clause("C6.8")
def test_a_factory_with_open_arguments_gets_all(tmp_path: Path) -> None:
    code = SOUND.replace(
        "def load_environment():", "def load_environment(**params):\n    assert params == {'a': 1}"
    )
    folder = write_environment(tmp_path, code)

    load_environment(str(folder / "environment.py"), a=1)


@clause("C6.9")
@pytest.mark.parametrize(
    "result", ["Sums", "object()", "None", "coroutine()", "[]"], ids=lambda result: str(result)
)
def test_anything_but_an_environment_is_refused(tmp_path: Path, result: str) -> None:
    code = f"{SOUND}\nasync def coroutine():\n    pass\ndef wrong():\n    return {result}\n"
    folder = write_environment(tmp_path, code)

    with pytest.raises(TypeError, match="not an instance"):
        load_environment(f"{folder / 'environment.py'}:wrong")


@clause("C6.4", "C6.6", "C6.7")
def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_environment(tmp_path, "load_environment = 3\n")

    with pytest.raises(FileNotFoundError, match=r"missing\.py"):
        load_environment(str(tmp_path / "missing.py"))
    with pytest.raises(ModuleNotFoundError):
        load_environment("no_such_module_at_all")
    with pytest.raises(AttributeError, match="other"):
        load_environment(f"{folder / 'environment.py'}:other")
    with pytest.raises(TypeError, match="not a function"):
        load_environment(str(folder / "environment.py"))


@clause("C6.5")
def test_a_module_that_raises_leaves_no_trace(tmp_path: Path) -> None:
    folder = write_environment(tmp_path, "raise KeyError('x')\n")
    before = set(sys.modules)

    with pytest.raises(KeyError):
        load_environment(str(folder / "environment.py"))

    assert set(sys.modules) == before


@clause("C9.3", "C9.4")
def test_only_suites_are_accepted_as_suites(tmp_path: Path) -> None:
    folder = write_environment(
        tmp_path, SOUND, evaluations="def load_evaluations():\n    return [1]\n"
    )

    assert has_evaluations(folder)
    assert has_evaluations(folder / "environment.py")
    with pytest.raises(TypeError, match="int among its suites"):
        load_evaluation_suites(str(folder / "evaluations.py"))


@clause("C9.3")
def test_no_suites_are_fine(tmp_path: Path) -> None:
    folder = write_environment(
        tmp_path, SOUND, evaluations="def load_evaluations():\n    return []\n"
    )

    assert load_evaluation_suites(str(folder / "evaluations.py")) == []
