"""How often versions are used: counted without waiting, written without loss."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from freesolo.domain.roles import Visibility
from freesolo.schemas.uses import UseKind
from hub_server.models import Environment, EnvironmentVersion
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.factories import content_digest

TODAY = date(2030, 1, 1)
ARCHIVE = "/v1/envs/local/agree/versions/{}/archive"


def uses(hub: HubUnderTest, key: str | None = None) -> Document:
    hub.resources.uses.write(hub.resources.sessions)
    response = hub.client(key or hub.keys.user).get("/v1/envs/local/agree/uses")
    assert response.status_code == 200, response.text
    document: Document = response.json()
    return document


def counted(hub: HubUnderTest) -> dict[str, tuple[int, int]]:
    return {
        version["version"]: (version["downloads"], version["runs"])
        for version in uses(hub)["versions"]
    }


def version_id(hub: HubUnderTest, version: str = "0.1.0") -> UUID:
    with hub.resources.readers() as session:
        return session.scalars(
            select(EnvironmentVersion.id).where(EnvironmentVersion.version == version)
        ).one()


def test_downloads_and_runs_are_counted_for_each_version_and_day(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    any_hub.publish(version="0.2.0")
    for version in ("0.1.0", "0.1.0", "0.2.0"):
        assert any_hub.user.get(ARCHIVE.format(version)).status_code == 200
    any_hub.submit()
    uses(any_hub)
    any_hub.clock.advance(86_400)
    any_hub.user.get(ARCHIVE.format("0.1.0"))
    told = uses(any_hub)
    assert told["since"] == "2029-10-05"
    assert told["versions"] == [
        {
            "version": "0.2.0",
            "downloads": 1,
            "runs": 1,
            "days": [{"day": "2030-01-01", "downloads": 1, "runs": 1}],
        },
        {
            "version": "0.1.0",
            "downloads": 3,
            "runs": 0,
            "days": [
                {"day": "2030-01-01", "downloads": 2, "runs": 0},
                {"day": "2030-01-02", "downloads": 1, "runs": 0},
            ],
        },
    ]
    with any_hub.resources.readers() as session:
        assert session.scalars(select(Environment.downloads)).one() == 4


def test_a_wheel_counts_as_a_download_and_its_metadata_does_not(hub: HubUnderTest) -> None:
    hub.publish()
    path = "/simple-env/local/agree/files/fsenv_local_agree-0.1.0-py3-none-any.whl"
    assert hub.user.get(f"{path}.metadata").status_code == 200
    assert counted(hub) == {"0.1.0": (0, 0)}
    assert hub.user.get(path).status_code == 200
    assert counted(hub) == {"0.1.0": (1, 0)}


@pytest.mark.parametrize("header", ["If-None-Match", "Range"])
def test_a_part_of_a_download_is_not_another_one(hub: HubUnderTest, header: str) -> None:
    digest = hub.publish()["archive_digest"]
    value = f'"{digest}"' if header == "If-None-Match" else "bytes=0-3"
    answer = hub.user.get(ARCHIVE.format("0.1.0"), headers={header: value})
    assert answer.status_code in (206, 304)
    assert counted(hub) == {"0.1.0": (0, 0)}


def test_a_dry_run_and_a_repeated_submit_are_not_runs(hub: HubUnderTest) -> None:
    hub.publish()
    spec = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "environment": {"id": "local/agree"}}
    hub.user.post("/v1/runs", json={"spec": spec, "dry_run": True})
    for _ in range(2):
        answer = hub.user.post("/v1/runs", json={"spec": spec}, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 201
    assert counted(hub) == {"0.1.0": (0, 1)}


def test_uses_of_many_threads_and_hubs_add_up(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    version = version_id(any_hub)

    def use_and_write(_: int) -> None:
        for _ in range(25):
            any_hub.resources.uses.note(version, UseKind.DOWNLOAD, on=TODAY)
        any_hub.resources.uses.write(any_hub.resources.sessions)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use_and_write, range(8)))
    assert counted(any_hub) == {"0.1.0": (200, 0)}


def test_what_could_not_be_written_is_written_later(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.get(ARCHIVE.format("0.1.0"))
    with hub.resources.sessions.begin() as session:
        session.execute(text("ALTER TABLE version_uses RENAME TO away"))
    with pytest.raises(OperationalError):
        hub.resources.uses.write(hub.resources.sessions)
    with hub.resources.sessions.begin() as session:
        session.execute(text("ALTER TABLE away RENAME TO version_uses"))
    assert counted(hub) == {"0.1.0": (1, 0)}


def test_a_version_that_is_gone_holds_up_no_other(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    any_hub.resources.uses.note(uuid4(), UseKind.DOWNLOAD, on=TODAY)
    any_hub.user.get(ARCHIVE.format("0.1.0"))
    assert counted(any_hub) == {"0.1.0": (1, 0)}


def test_what_was_noted_is_written_when_the_hub_stops(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.get(ARCHIVE.format("0.1.0"))
    hub.user.__exit__(None, None, None)
    with hub.resources.readers() as session:
        assert session.scalars(select(Environment.downloads)).one() == 1
    hub.user.__enter__()


def test_uses_show_only_what_a_reader_may_see(hub: HubUnderTest) -> None:
    hub.publish()
    archive = hub.pack(version="0.2.0")
    hub.user.put(
        "/v1/envs/local/agree/versions/0.2.0?stage=true",
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )
    stranger = hub.make_member("other")
    refused = hub.client(stranger).get("/v1/envs/local/agree/uses")
    assert (refused.status_code, error_of(refused)["code"]) == (404, "environment_not_found")
    with hub.resources.sessions.begin() as session:
        session.query(Environment).update({"visibility": Visibility.PUBLIC})
    shown = {
        key: [version["version"] for version in uses(hub, key)["versions"]]
        for key in (stranger, hub.keys.user)
    }
    assert shown == {stranger: ["0.1.0"], hub.keys.user: ["0.2.0", "0.1.0"]}
