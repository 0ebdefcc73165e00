"""Whatever dies, and whatever the store does: nothing acknowledged is lost, nothing half is seen."""

import io
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from botocore.client import BaseClient
from httpx2 import Response
from pydantic import SecretStr
from tenacity import retry, retry_if_exception_type, wait_fixed

from freesolo.package.archive import Archive
from freesolo.schemas.uploads import OFFSET_HEADER
from hub_server.blobs import BlobStore, S3BlobStore
from hub_server.blobs.s3 import connect
from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock, error_of
from tests.component.hub.test_maintenance import checked
from tests.factories import content_digest, make_environment, pack_folder
from tests.hubs import Keys
from tests.ports import free_port

Publish = Callable[[httpx.Client, Archive, str], httpx.Response]

# How `kill -9` shows in an exit status.
KILLED = -signal.SIGKILL


class StoppingHubs:
    """Hubs of one data folder, one after the other; see `tests.stopping_hub`."""

    def __init__(self, parent: subprocess.Popen[str], key: str) -> None:
        self._parent = parent
        self._key = key
        self._url = f"http://127.0.0.1:{self._read()}"

    @contextmanager
    def running(self, stop_at: int = 0) -> Iterator[httpx.Client]:
        """Run a hub that is killed at the step, or else when the block ends."""
        self._write(stop_at)
        self._read()
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            with httpx.Client(base_url=self._url, headers=headers, trust_env=False) as client:
                yield client
        finally:
            self._write(0)
            assert self._read() == KILLED

    def _write(self, number: int) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write(f"{number}\n")
        self._parent.stdin.flush()

    def _read(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


@contextmanager
def stopping_hubs(settings: HubSettings, key: str) -> Iterator[StoppingHubs]:
    """Run the parent of hubs that are killed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.stopping_hub"],
        env=_environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        try:
            yield StoppingHubs(parent, key)
        finally:
            parent.kill()


def _environment(settings: HubSettings) -> dict[str, str]:
    changed = settings.model_dump(exclude_none=True, exclude={"log_level"})
    return {
        f"FREESOLO_SERVER_{name}".upper(): (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
        for name, value in changed.items()
    }


def put(hub: httpx.Client, archive: Archive, version: str) -> httpx.Response:
    """Publish in one request."""
    return hub.put(
        f"/v1/envs/local/agree/versions/{version}",
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )


def put_in_pieces(hub: httpx.Client, archive: Archive, version: str) -> httpx.Response:
    """Publish through an upload, going on where an earlier one was interrupted."""
    digests = {"tree_digest": archive.tree_digest, "archive_digest": archive.archive_digest}
    body = {"org": "local", "name": "agree", "version": version, "size": archive.size}
    upload = hub.post("/v1/uploads", json=body | digests).raise_for_status().json()
    path = f"/v1/uploads/{upload['upload_id']}"
    offset, content = upload["offset"], archive.path.read_bytes()
    while offset < archive.size:
        answer = hub.patch(path, content=content[offset:], headers={OFFSET_HEADER: str(offset)})
        offset = int(answer.raise_for_status().headers[OFFSET_HEADER])
    return hub.post(f"{path}/finalize")


def settings_of(pair: str, request: pytest.FixtureRequest) -> HubSettings:
    """Return the settings of an empty hub on a database and a store."""
    settings: HubSettings = request.getfixturevalue("hub_settings")
    if pair == "sqlite-disk":
        return settings
    changes = {"database_url": request.getfixturevalue("postgres_url")}
    return settings.model_copy(update=changes | request.getfixturevalue("s3_settings"))


def keys_of(settings: HubSettings) -> Keys:
    """Make the keys of an empty hub."""
    with HubUnderTest(settings, SettableClock()) as hub:
        return hub.keys


@pytest.mark.parametrize(
    ("pair", "publish"),
    [("sqlite-disk", put), ("postgresql-s3", put), ("sqlite-disk", put_in_pieces)],
)
def test_a_hub_that_is_killed_at_any_step_of_a_publish_loses_nothing(
    pair: str, publish: Publish, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings = settings_of(pair, request)
    keys = keys_of(settings)
    archives: dict[str, Archive] = {}
    with stopping_hubs(settings, keys.user) as hubs:
        for step in range(1, 100):
            version = f"0.{step}"
            archives[version] = pack(tmp_path, version)
            with hubs.running(stop_at=step) as hub:
                if _answers(publish, hub, archives[version], version):
                    break
        with hubs.running() as hub:
            again = [publish(hub, archives[version], version).json() for version in archives]
    assert step > 8, "the hub was hardly ever killed"
    assert again[-1]["status"] == "unchanged"
    with HubUnderTest(settings, SettableClock(), keys) as after:
        health = checked(after)
        assert (health.findings, health.versions) == ((), step)
        for version, archive in archives.items():
            path = f"/v1/envs/local/agree/versions/{version}/archive"
            assert after.download(path) == archive.path.read_bytes()


def test_a_served_hub_that_is_killed_among_publishes_loses_none_that_it_answered(
    hub_settings: HubSettings, tmp_path: Path
) -> None:
    keys = keys_of(hub_settings)
    archives = {f"0.{number}": pack(tmp_path, f"0.{number}") for number in range(40)}
    answered: list[str] = []
    port = free_port()
    environment = _environment(hub_settings.model_copy(update={"port": port}))
    command = [sys.executable, "-m", "hub_server", "serve"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {keys.user}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
            _wait_for(client, process)

            def publish(version: str) -> None:
                if _answers(put, client, archives[version], version):
                    answered.append(version)
                if len(answered) >= 10:
                    process.kill()

            with ThreadPoolExecutor(4) as threads:
                list(threads.map(publish, archives))
    assert 10 <= len(answered) < 40
    with HubUnderTest(hub_settings, SettableClock(), keys) as after:
        health = checked(after)
        assert health.findings == ()
        # One that was published, but whose answer was lost, may be there too.
        assert len(answered) <= health.versions <= len(answered) + 4
        for version in answered:
            path = f"/v1/envs/local/agree/versions/{version}/archive"
            assert after.download(path) == archives[version].path.read_bytes()


@retry(wait=wait_fixed(0.05), retry=retry_if_exception_type(httpx.ConnectError))
def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "the hub did not start"
    client.get("/healthz")


def _answers(publish: Publish, hub: httpx.Client, archive: Archive, version: str) -> bool:
    try:
        return publish(hub, archive, version).is_success
    except httpx.TransportError:
        return False


def pack(folder: Path, version: str, comment: str = "") -> Archive:
    """Make an archive of a version of `agree`."""
    place = make_environment(folder / f"agree-{version}-{comment}", version=version)
    (place / "README.md").write_text(f"{version} {comment}")
    return pack_folder(place)


@pytest.fixture
def s3_hub(hub_settings: HubSettings, s3_settings: dict[str, object]) -> Iterator[HubUnderTest]:
    """A hub whose bytes are in S3."""
    with HubUnderTest(hub_settings.model_copy(update=s3_settings), SettableClock()) as hub:
        yield hub


# Given an address that never answers.
Breaking = Callable[[HubUnderTest, str], BlobStore]


@pytest.fixture
def silence() -> Iterator[str]:
    """The address of a server that takes every request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def down(hub: HubUnderTest, _: str) -> BlobStore:
    """Return a store that nobody listens for."""
    return _at(hub, f"http://127.0.0.1:{free_port()}")


def slow(hub: HubUnderTest, silence: str) -> BlobStore:
    """Return a store that takes longer than anybody waits."""
    return _at(hub, silence)


def lying(hub: HubUnderTest, _: str) -> BlobStore:
    """Return a store that keeps half of what it says it keeps."""
    client = connect(hub.resources.settings)
    put_object = client.put_object
    client.put_object = (
        lambda Body, **rest: put_object(  # noqa: N803
            Body=Body[:-1] if isinstance(Body, bytes) else Body.read()[:-1], **rest
        )
    )
    return _store(hub, client)


def cut_short(hub: HubUnderTest, _: str) -> BlobStore:
    """Return a store whose answers end too early."""
    client = connect(hub.resources.settings)
    get_object = client.get_object

    def get(**asked: str) -> dict[str, object]:
        with get_object(**asked)["Body"] as body:
            return {"Body": io.BytesIO(body.read()[:-1])}

    client.get_object = get
    return _store(hub, client)


def _at(hub: HubUnderTest, endpoint: str) -> BlobStore:
    elsewhere = hub.resources.settings.model_copy(update={"s3_endpoint": endpoint})
    return _store(hub, connect(elsewhere, read_seconds=0.1))


def _store(hub: HubUnderTest, client: BaseClient) -> BlobStore:
    bucket, staging = str(hub.resources.settings.s3_bucket), hub.resources.blobs.staging
    return S3BlobStore(client, bucket, staging=staging)


@pytest.mark.parametrize("broken", [down, slow, lying, cut_short])
def test_a_store_that_fails_loses_nothing_and_is_tried_again(
    s3_hub: HubUnderTest, broken: Breaking, silence: str
) -> None:
    working = s3_hub.resources
    first = s3_hub.publish()
    s3_hub.app.state.resources = replace(working, blobs=broken(s3_hub, silence))
    archive = s3_hub.pack(version="0.2.0")
    answer = s3_hub.send(archive, "agree", "0.2.0")
    assert (answer.status_code, error_of(answer)["code"]) == (503, "unavailable_storage")
    assert int(answer.headers["retry-after"]) > 0
    # What needs no bytes goes on.
    pinned = s3_hub.user.get("/v1/envs/local/agree/resolve").json()
    assert (pinned["version"], pinned["tree_digest"]) == ("0.1.0", first["tree_digest"])
    assert list(working.blobs.staging.iterdir()) == []
    s3_hub.app.state.resources = working
    assert checked(s3_hub).findings == ()
    assert s3_hub.send(archive, "agree", "0.2.0").status_code == 201
    assert checked(s3_hub).findings == ()


@pytest.mark.parametrize("broken", [down, slow])
def test_a_hub_without_its_store_lives_and_says_what_it_lacks(
    s3_hub: HubUnderTest, broken: Breaking, silence: str
) -> None:
    s3_hub.app.state.resources = replace(s3_hub.resources, blobs=broken(s3_hub, silence))
    assert s3_hub.user.get("/healthz").json() == {"status": "ok"}
    ready = s3_hub.user.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "degraded", "storage": "unavailable"}


def test_a_hub_starts_while_its_store_is_down(
    hub_settings: HubSettings, s3_settings: dict[str, object]
) -> None:
    nowhere = s3_settings | {"s3_endpoint": f"http://127.0.0.1:{free_port()}"}
    with HubUnderTest(hub_settings.model_copy(update=nowhere), SettableClock()) as hub:
        assert hub.user.get("/v1/envs").status_code == 200


PUBLISHERS = 200


def test_of_many_that_publish_one_version_exactly_one_wins(any_hub: HubUnderTest) -> None:
    archives = [pack(any_hub.path, "0.1.0", str(number)) for number in range(PUBLISHERS)]
    answers = at_once(any_hub, [(archive, "0.1.0") for archive in archives])
    winners = [answer for answer in answers if answer.status_code == 201]
    assert len(winners) == 1
    digest = winners[0].json()["tree_digest"]
    losers = [answer.json()["error"] for answer in answers if answer.status_code == 409]
    assert len(losers) == PUBLISHERS - 1
    assert all(digest in error["message"] for error in losers)
    assert checked(any_hub).findings == ()


def test_of_many_that_publish_different_versions_all_win(any_hub: HubUnderTest) -> None:
    versions = [f"0.{number}.0" for number in range(PUBLISHERS)]
    answers = at_once(any_hub, [(pack(any_hub.path, version), version) for version in versions])
    assert [answer.status_code for answer in answers] == [201] * PUBLISHERS
    health = checked(any_hub)
    assert (health.findings, health.versions) == ((), PUBLISHERS)
    assert any_hub.user.get("/v1/envs/local/agree/resolve").json()["version"] == versions[-1]


def at_once(hub: HubUnderTest, archives: list[tuple[Archive, str]]) -> list[Response]:
    """Publish all archives, as many at a time as the hub has threads."""
    with ThreadPoolExecutor(40) as threads:
        return list(threads.map(lambda one: hub.send(one[0], "agree", one[1]), archives))
