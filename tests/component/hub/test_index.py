"""The simple index, as stock `pip` and `uv` use it, and as an attacker would."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from packaging.metadata import parse_email
from uv import find_uv_bin

from freesolo.domain.distributions import Distribution
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.environment_folders import SOUND
from tests.factories import content_digest, make_environment, pack_folder
from tests.hubs import serving

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
INDEX = "/simple-env/local/math"
WHEEL = "fsenv_local_math-1.2.0-py3-none-any.whl"


def publish(
    hub: HubUnderTest,
    name: str = "math",
    version: str = "1.2.0",
    *,
    needs: str = "",
    as_key: str | None = None,
    org: str = "local",
) -> None:
    """Publish `<org>/<name>`, which builds on the environments that `needs` lists in TOML."""
    source = make_environment(
        hub.path / f"{org}-{name}-{version}", name=name, version=version, source=SOUND
    )
    with (source / "environment.toml").open("a") as manifest:
        manifest.write(f"environments = [{needs}]\n")
    packed = pack_folder(source)
    client = hub.user if as_key is None else hub.client(as_key)
    sent = client.put(
        f"/v1/envs/{org}/{name}/versions/{version}",
        content=packed.path.read_bytes(),
        headers={"Content-Digest": content_digest(packed.archive_digest)},
    )
    assert sent.is_success, sent.text


def page(client: TestClient, path: str) -> Document:
    response = client.get(path, headers=JSON)
    assert response.status_code == 200, response.text
    document: Document = response.json()
    return document


def names(client: TestClient, path: str = f"{INDEX}/") -> list[str]:
    return [each["name"] for each in page(client, path)["projects"]]


@pytest.fixture
def math(hub: HubUnderTest) -> HubUnderTest:
    """A hub with local/math 1.2.0."""
    publish(hub)
    return hub


@pytest.fixture
def address(math: HubUnderTest) -> Iterator[str]:
    """The index of local/math on loopback, with a key in the address."""
    with serving(math.app) as url:
        yield f"http://__token__:{math.keys.user}@{urlsplit(url).netloc}{INDEX}/"


def run(*command: str | Path, fails: bool = False) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def pip(*arguments: str | Path, fails: bool = False) -> str:
    options = ("--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir")
    return run(sys.executable, "-m", "pip", *arguments, *options, fails=fails)


def uv(*arguments: str | Path, fails: bool = False) -> str:
    return run(find_uv_bin(), "--no-config", "--no-cache", *arguments, fails=fails)


def _without_key(address: str) -> str:
    parts = urlsplit(address)
    return f"http://{parts.hostname}:{parts.port}{parts.path}"


def loads(folder: Path) -> bool:
    """Say whether what was installed into `folder` loads."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import fsenv_local_math as e; "
    return "Sums" in run(sys.executable, "-c", code + "print(e.load_environment())")


def test_stock_pip_installs_a_version_with_its_hash_checked(
    math: HubUnderTest, address: str, tmp_path: Path
) -> None:
    (found,) = page(math.user, f"{INDEX}/fsenv-local-math/")["files"]
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"fsenv-local-math==1.2.0 --hash=sha256:{found['hashes']['sha256']}\n")
    target = tmp_path / "installed"
    pip("install", "--require-hashes", "-r", wanted, "--index-url", address, "--target", target)
    assert loads(target)


def test_stock_pip_refuses_a_wheel_of_another_hash(
    math: HubUnderTest, address: str, tmp_path: Path
) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"fsenv-local-math==1.2.0 --hash=sha256:{'0' * 64}\n")
    said = pip(
        "download", "--require-hashes", "-r", wanted, "--index-url", address, "-d", tmp_path,
        fails=True,
    )  # fmt: skip
    assert "DO NOT MATCH" in said


def test_stock_uv_installs_a_version_and_what_it_builds_on(
    math: HubUnderTest, address: str, tmp_path: Path
) -> None:
    publish(math, "tools", "1.5")
    publish(math, "math", "1.3.0", needs='"local/tools>=1,<2"')
    target = tmp_path / "installed"
    uv("pip", "install", "fsenv-local-math", "--index-url", address, "--target", target)
    assert loads(target)
    assert (target / "fsenv_local_tools" / "files" / "environment.py").is_file()
    assert (target / "fsenv_local_math-1.3.0.dist-info").is_dir()


def test_stock_uv_takes_the_key_from_a_netrc_file(
    math: HubUnderTest, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login __token__ password {math.keys.user}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    index = _without_key(address)
    uv("pip", "install", "fsenv-local-math", "--index-url", index, "--target", tmp_path / "x")


def test_stock_uv_locks_a_project_to_an_explicit_index(
    math: HubUnderTest, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "trainer"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["fsenv-local-math>=1"]\n'
        "[tool.uv.sources]\n"
        'fsenv-local-math = { index = "local-math" }\n'
        f'[[tool.uv.index]]\nname = "local-math"\nurl = "{_without_key(address)}"\n'
        "explicit = true\n"
    )
    monkeypatch.setenv("UV_INDEX_LOCAL_MATH_USERNAME", "__token__")
    monkeypatch.setenv("UV_INDEX_LOCAL_MATH_PASSWORD", math.keys.user)
    run(find_uv_bin(), "--no-cache", "lock", "--directory", tmp_path, "--no-python-downloads")
    locked = (tmp_path / "uv.lock").read_text()
    digest = page(math.user, f"{INDEX}/fsenv-local-math/")["files"][0]["hashes"]["sha256"]
    assert f"sha256:{digest}" in locked


def test_installers_choose_by_the_time_of_publishing(
    math: HubUnderTest, address: str, tmp_path: Path
) -> None:
    math.clock.advance(86400)
    publish(math, version="2.0")
    uv(
        "pip", "install", "fsenv-local-math", "--index-url", address, "--target", tmp_path / "x",
        "--exclude-newer", "2030-01-01T12:00:00Z",
    )  # fmt: skip
    assert (tmp_path / "x" / "fsenv_local_math-1.2.0.dist-info").is_dir()


def test_what_was_yanked_is_installed_only_by_those_who_name_it(
    math: HubUnderTest, address: str, tmp_path: Path
) -> None:
    publish(math, version="2.0")
    yanked = math.user.put(
        "/v1/envs/local/math/versions/2.0/yank", json={"reason": "wrong <answers>"}
    )
    assert yanked.is_success, yanked.text
    files = page(math.user, f"{INDEX}/fsenv-local-math/")["files"]
    assert [each["yanked"] for each in files] == [False, "wrong <answers>"]
    install = ("pip", "install", "--index-url", address, "--target")
    uv(*install, tmp_path / "any", "fsenv-local-math")
    assert (tmp_path / "any" / "fsenv_local_math-1.2.0.dist-info").is_dir()
    said = uv(*install, tmp_path / "exact", "fsenv-local-math==2.0")
    assert "wrong <answers>" in said


def test_a_renamed_environment_keeps_the_names_of_its_published_wheels(math: HubUnderTest) -> None:
    renamed = math.user.post("/v1/envs/local/math/rename", json={"name": "sums"})
    assert renamed.is_success, renamed.text
    publish(math, "sums", "1.3")
    for path in (INDEX, "/simple-env/local/sums"):
        assert names(math.user, f"{path}/") == ["fsenv-local-math", "fsenv-local-sums"]
        assert page(math.user, f"{path}/fsenv-local-math/")["versions"] == ["1.2.0"]
        assert page(math.user, f"{path}/fsenv-local-sums/")["versions"] == ["1.3"]
        assert math.user.get(f"{path}/files/{WHEEL}").is_success


def test_no_other_name_is_found_so_that_none_is_looked_for_here(
    math: HubUnderTest, address: str
) -> None:
    publish(math, "other")
    for name in ("requests", "fsenv-local-other", "fsenv-local", "fsenv-nobody-math"):
        response = math.user.get(f"{INDEX}/{name}/", headers=JSON)
        assert response.status_code == 404
    assert "No matching distribution" in pip(
        "download", "requests", "--index-url", address, fails=True
    )


def test_an_index_holds_what_its_environment_builds_on_and_that_in_turn(hub: HubUnderTest) -> None:
    publish(hub, "base")
    publish(hub, "tools", needs='"local/base"')
    publish(hub, "math", needs='"local/Tools>=1", "nobody/nothing"')
    assert names(hub.user) == ["fsenv-local-base", "fsenv-local-math", "fsenv-local-tools"]
    assert names(hub.user, "/simple-env/local/tools/") == ["fsenv-local-base", "fsenv-local-tools"]
    assert page(hub.user, f"{INDEX}/fsenv-local-base/")["versions"] == ["1.2.0"]
    assert hub.user.get(f"{INDEX}/files/fsenv_local_base-1.2.0-py3-none-any.whl").is_success


def test_environments_that_build_on_each_other_are_all_listed(hub: HubUnderTest) -> None:
    publish(hub, "tools", needs='"local/math"')
    publish(hub, "math", needs='"local/tools"')
    assert names(hub.user) == ["fsenv-local-math", "fsenv-local-tools"]


def test_what_the_caller_may_not_read_is_in_no_index(hub: HubUnderTest) -> None:
    theirs = hub.make_member("theirs")
    publish(hub, "secret", org="theirs", as_key=theirs)
    publish(hub, "math", needs='"theirs/secret"')
    assert names(hub.user) == ["fsenv-local-math"]
    for path in ("fsenv-theirs-secret/", "files/fsenv_theirs_secret-1.2.0-py3-none-any.whl"):
        assert hub.user.get(f"{INDEX}/{path}").status_code == 404
    for client in (hub.client(theirs), hub.client(None)):
        for path in ("", "fsenv-local-math/", f"files/{WHEEL}", f"files/{WHEEL}.metadata"):
            refused = client.get(f"{INDEX}/{path}")
            assert error_of(refused)["code"] == "environment_not_found"


def test_a_key_may_be_a_password(math: HubUnderTest) -> None:
    bare = math.client(None)
    assert bare.get(f"{INDEX}/", auth=("__token__", math.keys.user)).status_code == 200
    assert bare.get(f"{INDEX}/", auth=("__token__", "fslo_wrong")).status_code == 401
    assert bare.get(f"{INDEX}/", headers={"Authorization": "Basic ~"}).status_code == 401


def test_a_password_opens_nothing_but_the_index(math: HubUnderTest) -> None:
    bare = math.client(None)
    assert bare.get("/v1/envs/local/math", auth=("__token__", math.keys.user)).status_code == 404
    assert bare.get("/v1/whoami", auth=("__token__", math.keys.user)).status_code == 401


def test_the_metadata_beside_a_wheel_is_the_one_inside(math: HubUnderTest) -> None:
    (found,) = page(math.user, f"{INDEX}/fsenv-local-math/")["files"]
    beside = math.user.get(f"{INDEX}/files/{found['filename']}.metadata").content
    assert hashlib.sha256(beside).hexdigest() == found["core-metadata"]["sha256"]
    assert parse_email(beside)[0]["version"] == "1.2.0"
    wheel = math.user.get(f"{INDEX}/files/{found['filename']}").content
    assert hashlib.sha256(wheel).hexdigest() == found["hashes"]["sha256"]
    assert len(wheel) == found["size"]


def test_versions_are_listed_from_the_oldest_with_the_moment_of_their_publish(
    any_hub: HubUnderTest,
) -> None:
    for version in ("1.10", "1.9", "2.0rc1"):
        publish(any_hub, version=version)
        any_hub.clock.advance(1)
    listed = page(any_hub.user, f"{INDEX}/fsenv-local-math/")
    assert listed["versions"] == ["1.9", "1.10", "2.0rc1"]
    assert [each["upload-time"] for each in listed["files"]] == [
        "2030-01-01T00:00:01.000000Z",
        "2030-01-01T00:00:00.000000Z",
        "2030-01-01T00:00:02.000000Z",
    ]


def test_a_page_that_did_not_change_is_not_sent_again(math: HubUnderTest) -> None:
    path = f"{INDEX}/fsenv-local-math/"
    etag = math.user.get(path, headers=JSON).headers["etag"]
    assert math.user.get(path, headers={**JSON, "If-None-Match": etag}).status_code == 304
    publish(math, version="1.3")
    assert math.user.get(path, headers={**JSON, "If-None-Match": etag}).status_code == 200


def test_one_address_answers_each_client_in_the_format_it_reads(math: HubUnderTest) -> None:
    path = f"{INDEX}/fsenv-local-math/"
    for _ in range(2):
        assert json.loads(math.user.get(path, headers=JSON).text)["name"] == "fsenv-local-math"
        html = math.user.get(path, headers={"Accept": "text/html"})
        assert html.headers["content-type"].startswith("text/html")
        assert f">{WHEEL}</a>" in html.text


def test_each_form_of_a_page_has_a_tag_of_its_own(math: HubUnderTest) -> None:
    for minor in range(5):
        publish(math, version=f"2.{minor}")
    path = f"{INDEX}/fsenv-local-math/"
    forms = [
        {"Accept": accept, "Accept-Encoding": encoding}
        for accept in (JSON["Accept"], "text/html")
        for encoding in ("identity", "gzip")
    ]
    tags = [math.user.get(path, headers=form).headers["etag"] for form in forms]
    assert len(set(tags)) == 4
    for form in forms:
        answers = [
            math.user.get(path, headers={**form, "If-None-Match": tag}).status_code for tag in tags
        ]
        assert sorted(answers) == [200, 200, 200, 304]


def test_a_file_that_the_index_does_not_hold_is_not_found(math: HubUnderTest) -> None:
    for filename in (
        "fsenv_local_math-1.2.1-py3-none-any.whl",
        "fsenv_local_math-1.2-py3-none-any.whl",
        "fsenv_local_math-1.2.0.tar.gz",
        "fsenv_local_other-1.2.0-py3-none-any.whl",
        "requests-2.0-py3-none-any.whl",
        "..%2F..%2Fetc%2Fpasswd",
        ".metadata",
        f"{WHEEL}.metadata.metadata",
    ):
        assert math.user.get(f"{INDEX}/files/{filename}").status_code == 404, filename


def test_a_staged_version_cannot_be_installed(math: HubUnderTest) -> None:
    packed = pack_folder(make_environment(math.path / "staged", name="math", version="9.0"))
    staged = math.user.put(
        "/v1/envs/local/math/versions/9.0?stage=true",
        content=packed.path.read_bytes(),
        headers={"Content-Digest": content_digest(packed.archive_digest)},
    )
    assert staged.is_success, staged.text
    assert page(math.user, f"{INDEX}/fsenv-local-math/")["versions"] == ["1.2.0"]
    wheel = Distribution.of("local", "math").wheel("9.0")
    assert math.user.get(f"{INDEX}/files/{wheel}").status_code == 404


def test_a_name_is_read_in_any_spelling(math: HubUnderTest) -> None:
    assert page(math.user, "/simple-env/LOCAL/Math/FsEnv_Local.Math/")["versions"] == ["1.2.0"]
