"""What a version holds: shown as it was published, and harmless to whoever looks."""

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from freesolo.domain.manifest import Manifest
from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidEnvironment
from hub_server.contents.description import described
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.factories import content_digest, make_environment, pack_folder

VERSION = "/v1/envs/local/math/versions/1.2.0"
ROWS = [{"input": f"{n} + 1", "output": n + 1} for n in range(30)]
HOSTILE = "page <1>.html"


def publish(
    hub: HubUnderTest, name: str, version: str = "1.2.0", *, needs: str = "", stage: bool = False
) -> None:
    """Publish `local/<name>` with a README, a dataset and an odd file."""
    folder = make_environment(hub.path / f"{name}-{version}", name=name, version=version)
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write(f"environments = [{needs}]\n")
    (folder / "README.md").write_text("# Maths\n\n<script>alert(1)</script>\n")
    (folder / "dataset").mkdir()
    (folder / "dataset" / "train.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in ROWS))
    (folder / "dataset" / "broken.jsonl").write_text("{\n")
    (folder / HOSTILE).write_text("<script>alert(1)</script>")
    packed = pack_folder(folder)
    sent = hub.user.put(
        f"/v1/envs/local/{name}/versions/{version}",
        params={"stage": stage},
        content=packed.path.read_bytes(),
        headers={"Content-Digest": content_digest(packed.archive_digest)},
    )
    assert sent.is_success, sent.text


@pytest.fixture
def math(hub: HubUnderTest) -> HubUnderTest:
    """A hub with local/math 1.2.0."""
    publish(hub, "math")
    return hub


def get(hub: HubUnderTest, path: str) -> Document:
    response = hub.user.get(path)
    assert response.status_code == 200, response.text
    document: Document = response.json()
    return document


def test_a_version_is_shown_with_manifest_sizes_and_counts(math: HubUnderTest) -> None:
    shown = get(math, VERSION)
    assert shown["ref"] == "local/math"
    assert (shown["version"], shown["state"], shown["yanked"]) == ("1.2.0", "published", False)
    assert shown["manifest"]["summary"] == "Agree."
    assert shown["rows"] == {"dataset/broken.jsonl": 0, "dataset/train.jsonl": 30}
    assert shown["file_count"] == 6
    assert shown["wheel"]["filename"] == "fsenv_local_math-1.2.0-py3-none-any.whl"
    assert shown["uses"] == {}


def test_the_list_of_files_is_what_the_tree_digest_digests(math: HubUnderTest) -> None:
    listed = get(math, f"{VERSION}/files")
    header = "freesolo-env-manifest 1\n"
    text = header + "".join(
        f"{file['sha256']} {file['size']} 100644 {file['path']}\n" for file in listed["files"]
    )
    assert listed["tree_digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_every_file_is_read_back_as_it_was_published(math: HubUnderTest) -> None:
    for file in get(math, f"{VERSION}/files")["files"]:
        response = math.user.get(f"{VERSION}/files/{file['path']}")
        assert hashlib.sha256(response.content).hexdigest() == file["sha256"]
        assert response.headers["content-length"] == str(file["size"])


def test_no_browser_shows_a_file_as_a_page(math: HubUnderTest) -> None:
    headers = math.user.get(f"{VERSION}/files/{HOSTILE}").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment; filename*=utf-8''page%20%3C1%3E.html"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox"


def test_a_file_that_somebody_has_already_is_not_sent_again(math: HubUnderTest) -> None:
    path = f"{VERSION}/files/README.md"
    etag = math.user.get(path).headers["etag"]
    again = math.user.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert math.user.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_file_that_is_not_there_is_not_found(math: HubUnderTest) -> None:
    for path in ("../environment.toml", "%2e%2e/x", "dataset", "/x", "x\0"):
        assert math.user.get(f"{VERSION}/files/{quote(path)}").status_code == 404, path
    error = error_of(math.user.get(f"{VERSION}/files/README.mb"))
    assert error["code"] == "file_not_found"
    assert "README.md" in error["hint"]


def test_the_readme_is_harmless_html(math: HubUnderTest) -> None:
    html = get(math, f"{VERSION}/readme")["html"]
    assert '<h1 id="readme-maths">Maths</h1>' in html
    assert "script" not in html


def test_the_dataset_is_described_with_its_first_rows_and_its_faults(math: HubUnderTest) -> None:
    report = get(math, f"{VERSION}/dataset")["report"]
    train = next(split for split in report["splits"] if split["name"] == "train")
    assert (train["rows"], train["preview"]) == (30, ROWS[:20])
    assert {finding["path"] for finding in report["findings"]} == {"dataset/broken.jsonl"}


def test_a_version_without_readme_and_dataset_has_empty_ones(hub: HubUnderTest) -> None:
    archive = pack_folder(make_environment(hub.path / "bare", name="math", version="1.2.0"))
    assert hub.send(archive, "math", "1.2.0").status_code == 201
    assert get(hub, f"{VERSION}/readme")["html"] == ""
    assert get(hub, f"{VERSION}/dataset")["report"]["splits"] == []


def test_what_a_key_may_not_read_does_not_exist(math: HubUnderTest) -> None:
    stranger = math.client(math.make_member("strangers"))
    for client in (stranger, math.client(None)):
        for part in ("", "/files", "/files/README.md", "/readme", "/dataset"):
            response = client.get(f"{VERSION}{part}")
            assert error_of(response)["code"] == "environment_not_found"


def test_another_version_is_not_found(math: HubUnderTest) -> None:
    response = math.user.get("/v1/envs/local/math/versions/1.2.1/files")
    assert error_of(response)["code"] == "version_not_found"


def test_what_is_no_version_is_refused(math: HubUnderTest) -> None:
    assert math.user.get("/v1/envs/local/math/versions/new/readme").status_code == 422


def test_dependents_are_listed_with_the_range_that_their_newest_version_needs(
    any_hub: HubUnderTest,
) -> None:
    publish(any_hub, "math")
    publish(any_hub, "chess", "1.0", needs='"local/math>=1"')
    publish(any_hub, "chess", "1.1", needs='"local/Math>=1.1"')
    publish(any_hub, "dice", "0.1", needs='"local/math"')
    publish(any_hub, "poker", "0.1", needs='"local/math"', stage=True)
    listed = get(any_hub, "/v1/envs/local/math/dependents")
    assert listed == {
        "dependents": [
            {"ref": "local/chess", "version": "1.1", "specifier": ">=1.1"},
            {"ref": "local/dice", "version": "0.1", "specifier": ""},
        ],
        "next_cursor": None,
    }


def test_dependents_come_in_pages(math: HubUnderTest) -> None:
    for name in ("chess", "dice", "go"):
        publish(math, name, needs='"local/math"')
    path, seen = "/v1/envs/local/math/dependents?limit=2", []
    page = get(math, path)
    seen += page["dependents"]
    page = get(math, f"{path}&cursor={page['next_cursor']}")
    seen += page["dependents"]
    assert [each["ref"] for each in seen] == ["local/chess", "local/dice", "local/go"]
    assert page["next_cursor"] is None


def test_publishing_leaves_nothing_in_the_hubs_staging_folder(math: HubUnderTest) -> None:
    assert list(math.resources.blobs.staging.iterdir()) == []


def test_an_archive_that_cannot_be_described_leaves_no_wheel(tmp_path: Path) -> None:
    packed = pack_folder(make_environment(tmp_path / "math", name="math", version="1.2.0"))
    packed.path.write_bytes(packed.path.read_bytes()[:-20])
    staging = tmp_path / "staging"
    staging.mkdir()
    manifest = Manifest(name="math", version="1.2.0")
    with (
        pytest.raises(InvalidEnvironment),
        described(packed.path, staging, ref=EnvRef("acme", "math"), manifest=manifest),
    ):
        pass
    assert list(staging.iterdir()) == []
