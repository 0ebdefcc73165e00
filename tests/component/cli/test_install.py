"""add, remove, install: a consumer's folder, from the first environment to a machine without a hub."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import (
    BUILDS_ON_TOOLS,
    Publish,
    hub_is_gone,
    manifest,
    read_toml,
    write_math,
    write_tools,
)
from tests.environment_folders import SOUND, write_environment
from tests.hubs import LiveHub, serving


def test_add_writes_the_range_locks_and_installs(freesolo: Freesolo, publish: Publish) -> None:
    digest = publish(write_math("1.2.0"))

    added = freesolo("add", "local/math", "--json")

    assert added.code == 0, added.err
    (installed,) = added.document["environments"]
    assert (installed["ref"], installed["version"]) == ("local/math", "1.2.0")
    assert installed["loader"] == 'freesolo.load("local/math@1.2.0")'
    assert read_toml("freesolo.toml")["environments"] == {"local/math": ">=1.2.0,<2"}
    (locked,) = read_toml("freesolo.lock")["environment"]
    assert (locked["id"], locked["version"], locked["tree"]) == ("local/math", "1.2.0", digest)


def test_add_says_how_to_load_what_it_installed(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math("0.3.1"))

    added = freesolo("add", "local/math")

    assert 'freesolo.load("local/math@0.3.1")' in added.out
    assert "local/math>=0.3.1,<0.4" in added.err
    assert "freesolo eval" in added.err


def test_add_keeps_the_range_that_was_asked_for_and_the_comments(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_math("1.2.0"))
    Path("freesolo.toml").write_text('# Ours.\n[environments]\n"local/math" = "1.0"  # the exam\n')

    assert freesolo("add", "local/math@>=1,<3").code == 0

    text = Path("freesolo.toml").read_text()
    assert text.startswith("# Ours.\n")
    assert '">=1,<3"  # the exam' in text


def test_adding_what_is_not_there_changes_nothing(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math())

    refusal = freesolo("add", "local/mth", "--json")

    assert (refusal.code, refusal.error["code"]) == (3, "environment_not_found")
    assert not Path("freesolo.toml").exists()
    assert not Path("freesolo.lock").exists()


def test_remove_takes_an_environment_out_of_both_files(
    freesolo: Freesolo, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write_tools())
    publish(write_math(on="local/tools>=1", code=BUILDS_ON_TOOLS))
    freesolo("add", "local/math")
    hub_is_gone(monkeypatch)

    removed = freesolo("remove", "Local/Math", "--json")

    assert removed.code == 0
    assert {change["after"] for change in removed.document["changes"]} == {None}
    assert read_toml("freesolo.toml")["environments"] == {}
    assert read_toml("freesolo.lock")["environment"] == []


def test_removing_what_is_not_wanted_names_what_is(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math())
    freesolo("add", "local/math")

    refusal = freesolo("remove", "local/maths", "--json")

    assert refusal.code == 3
    assert "local/math" in refusal.error["hint"]


def test_what_an_environment_builds_on_is_importable_in_it(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_tools(full=0.5))
    publish(write_math(on="local/tools>=1,<2", code=BUILDS_ON_TOOLS))

    installed = freesolo("install", "local/math", "--json")

    assert installed.code == 0, installed.err
    assert not Path("freesolo.lock").exists()


def test_install_without_a_lock_writes_one(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math())
    Path("freesolo.toml").write_text('[environments]\n"local/math" = "*"\n')

    assert freesolo("install").code == 0
    assert read_toml("freesolo.lock")["environment"][0]["id"] == "local/math"


def test_python_packages_are_pinned_and_installed_from_the_pin(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_math(code=f"import six\n{SOUND}", lines='dependencies = ["six<1.17"]\n'))

    added = freesolo("add", "local/math", "--json")

    assert added.code == 0, added.err
    pip = read_toml("freesolo.lock")["environment"][0]["pip"]
    assert pip["lock"] == "pylock.local-math.toml"
    (package,) = read_toml("pylock.local-math.toml")["packages"]
    assert package["wheels"][0]["hashes"]["sha256"]
    python = added.document["environments"][0]["python"]
    version = subprocess.run(
        [python, "-c", "import six; print(six.__version__)"], capture_output=True, text=True
    )
    assert version.stdout.strip() == package["version"]


def test_a_locked_install_needs_no_hub_once_the_files_are_here(
    freesolo: Freesolo, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write_tools())
    publish(write_math(on="local/tools", code=BUILDS_ON_TOOLS))
    freesolo("add", "local/math")
    hub_is_gone(monkeypatch)

    installed = freesolo("install", "--locked", "--json")

    assert installed.code == 0, installed.err
    assert installed.document["environments"][0]["version"] == "1.0"


def test_without_the_files_a_locked_install_says_that_the_hub_is_gone(
    freesolo: Freesolo,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    environment_cache: Path,
    with_hub: LiveHub,
) -> None:
    digest = publish(write_math("7.0"))
    freesolo("add", "local/math")
    shutil.rmtree(environment_cache / "environments" / digest.removeprefix("sha256:"))
    lock = Path("freesolo.lock").read_text()
    hub_is_gone(monkeypatch)
    Path("freesolo.lock").write_text(lock.replace(with_hub.url, "http://127.0.0.1:1"))

    refusal = freesolo("install", "--locked", "--json")

    assert (refusal.code, refusal.error["code"]) == (8, "unavailable")


def test_a_locked_install_fetches_exactly_what_is_locked(
    freesolo: Freesolo, publish: Publish, environment_cache: Path
) -> None:
    digest = publish(write_math("1.0"))
    freesolo("add", "local/math")
    publish(write_math("1.1"))
    shutil.rmtree(environment_cache / "environments" / digest.removeprefix("sha256:"))

    (installed,) = freesolo("install", "--locked", "--json").document["environments"]

    assert (installed["version"], installed["tree_digest"]) == ("1.0", digest)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"local/math" = ">=1.0,<2"', '"local/math" = ">=2"'),
        ("[environments]", '[environments]\n"local/new" = "*"'),
    ],
)
def test_a_locked_install_refuses_a_lock_that_does_not_fit(
    freesolo: Freesolo, publish: Publish, before: str, after: str
) -> None:
    publish(write_math())
    freesolo("add", "local/math")
    wanted = Path("freesolo.toml")
    wanted.write_text(wanted.read_text().replace(before, after))

    refusal = freesolo("install", "--locked", "--json")

    assert (refusal.code, refusal.error["code"]) == (4, "lock_outdated_conflict")


def test_a_locked_install_without_a_lock_is_refused(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math())
    Path("freesolo.toml").write_text('[environments]\n"local/math" = "*"\n')

    assert freesolo("install", "--locked").code == 4
    assert freesolo("install", "local/math", "--locked").code == 4


def test_a_cache_that_was_written_to_is_not_believed(
    freesolo: Freesolo, publish: Publish, environment_cache: Path
) -> None:
    digest = publish(write_math())
    freesolo("add", "local/math")
    code = environment_cache / "environments" / digest.removeprefix("sha256:") / "environment.py"
    code.write_text("raise SystemExit('not published')")

    assert freesolo("install", "--locked").code == 0
    assert "not published" not in code.read_text()


def test_a_pylock_that_was_edited_is_not_believed(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math(lines='dependencies = ["six"]\n'))
    freesolo("add", "local/math")
    pylock = Path("pylock.local-math.toml")
    pylock.write_text(f"{pylock.read_text()}# mine\n")

    refusal = freesolo("install", "--locked", "--json")

    assert (refusal.code, refusal.error["code"]) == (2, "invalid_lock_file")


def test_a_lock_of_another_hub_gets_no_key_of_ours(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math("8.0"))
    freesolo("add", "local/math")
    lock = Path("freesolo.lock")
    text = lock.read_text()
    source = text.split('source = "')[1].split('"')[0]
    tree = text.split('tree = "')[1].split('"')[0]
    elsewhere = FastAPI()
    seen: list[Mapping[str, str]] = []

    @elsewhere.get("/{path:path}")
    def refuse(request: Request) -> JSONResponse:
        seen.append(request.headers)
        return JSONResponse({"error": {"code": "unauthorized", "message": "No."}}, 401)

    with serving(elsewhere) as url:
        lock.write_text(text.replace(source, url).replace(tree, f"sha256:{'0' * 64}"))
        refusal = freesolo("install", "--locked", "--json")

    assert (refusal.code, refusal.error["code"]) == (5, "unauthorized")
    assert refusal.error["message"] == f"There is no key for {url}."
    assert [headers.get("authorization") for headers in seen] == [None]


def test_an_environment_that_does_not_load_fails_in_its_authors_words(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_math(code="raise RuntimeError('my import breaks')"))

    refusal = freesolo("install", "local/math", "--json")

    assert (refusal.code, refusal.error["code"]) == (7, "env_failed")
    assert "my import breaks" in refusal.error["message"]


def test_versions_that_do_not_fit_together_are_told_in_words(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_tools("1.0"))
    publish(write_tools("2.0"))
    publish(write_math(on="local/tools>=2", code=BUILDS_ON_TOOLS))
    Path("freesolo.toml").write_text('[environments]\n"local/math" = "*"\n"local/tools" = "<2"\n')

    refusal = freesolo("install", "--json")

    assert (refusal.code, refusal.error["code"]) == (4, "requirements_conflict")
    assert "local/math 1.0 wants local/tools>=2" in refusal.error["message"]
    assert "freesolo.toml wants local/tools<2" in refusal.error["message"]


def test_a_version_for_newer_pythons_is_passed_over(freesolo: Freesolo, publish: Publish) -> None:
    publish(write_math("1.0", lines='requires-python = ">=3.10"\n'))
    publish(write_math("1.1", lines='requires-python = ">=3.11"\n'))
    Path("freesolo.toml").write_text(
        '[project]\nrequires-python = ">=3.10"\n[environments]\n"local/math" = "*"\n'
    )

    assert freesolo("install", "--json").document["environments"][0]["version"] == "1.0"


def test_install_needs_to_know_what(freesolo: Freesolo) -> None:
    refusal = freesolo("install", "--json")

    assert (refusal.code, refusal.error["code"]) == (2, "invalid_consumer_file")
    assert "freesolo add" in refusal.error["hint"]


def test_validate_and_publish_try_code_on_what_it_builds_on(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish(write_tools())
    folder = write_environment(
        Path("mine"),
        BUILDS_ON_TOOLS,
        manifest=f'{manifest("mine", "0.1")}environments = ["local/tools>=1"]\n',
    )

    report = freesolo("validate", folder, "--json")

    assert report.code == 0, json.dumps(report.document)
    assert freesolo("publish", folder).code == 0
