"""How much an org may keep."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from hub_server.models import Org
from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock, error_of

HubWith = Callable[..., HubUnderTest]


@pytest.fixture(params=["sqlite", "postgresql"])
def hub_with(request: pytest.FixtureRequest, hub_settings: HubSettings) -> Iterator[HubWith]:
    """Start a hub on each database with changed settings."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with ExitStack() as stack:

        def start(**changes: object) -> HubUnderTest:
            settings = hub_settings.model_copy(update={"database_url": url, **changes})
            return stack.enter_context(HubUnderTest(settings, SettableClock()))

        yield start


def _give(hub: HubUnderTest, **limits: int | None) -> None:
    with hub.resources.sessions.begin() as session:
        org = session.query(Org).filter_by(slug="local").one()
        for name, limit in limits.items():
            setattr(org, name, limit)


def test_by_default_an_org_keeps_what_it_likes(hub: HubUnderTest) -> None:
    hub.publish()
    shown = hub.user.get("/v1/orgs/local").json()
    assert shown["environments"] == {"used": 1, "allowed": None}
    assert shown["storage_bytes"]["allowed"] is None
    assert shown["storage_bytes"]["used"] > 0


def test_an_environment_too_many_is_refused_with_used_and_allowed(hub_with: HubWith) -> None:
    hub = hub_with(org_environments=1)
    hub.publish("one")
    refusal = hub.send(hub.pack("two"), "two", "0.1.0")
    assert (refusal.status_code, error_of(refusal)["code"]) == (403, "quota_exceeded")
    assert "2 environments; it may keep 1" in error_of(refusal)["message"]
    assert hub.user.get("/v1/envs/local/two").status_code == 404
    hub.publish("one", "0.2.0")


def test_what_was_deleted_comes_back_only_where_there_is_room(hub_with: HubWith) -> None:
    hub = hub_with(org_environments=1)
    hub.publish("one")
    hub.user.delete("/v1/envs/local/one")
    hub.publish("two")
    refusal = hub.user.post("/v1/envs/local/one/restore")
    assert (refusal.status_code, error_of(refusal)["code"]) == (403, "quota_exceeded")
    hub.user.delete("/v1/envs/local/two")
    assert hub.user.post("/v1/envs/local/one/restore").status_code == 200


def test_a_version_too_large_is_refused(hub_with: HubWith) -> None:
    hub = hub_with()
    hub.publish()
    used = hub.user.get("/v1/orgs/local").json()["storage_bytes"]["used"]
    _give(hub, max_storage_bytes=used)
    refusal = hub.send(hub.pack("agree", "0.2.0"), "agree", "0.2.0")
    assert error_of(refusal)["code"] == "quota_exceeded"
    # What is there already takes no room again.
    assert hub.publish()["status"] == "unchanged"
    hub.user.delete("/v1/envs/local/agree/versions/0.1.0")
    _give(hub, max_storage_bytes=2 * used)
    hub.publish("agree", "0.2.0")


def test_an_orgs_own_limit_goes_before_the_hubs(hub_with: HubWith) -> None:
    hub = hub_with(org_environments=0)
    assert hub.send(hub.pack(), "agree", "0.1.0").status_code == 403
    _give(hub, max_environments=1)
    hub.publish()
    assert hub.user.get("/v1/orgs/local").json()["environments"] == {"used": 1, "allowed": 1}


def test_rivals_together_keep_no_more_than_is_allowed(hub_with: HubWith) -> None:
    hub = hub_with(org_environments=3)
    packed = {name: hub.pack(name) for name in ("ant", "bee", "cat", "dog", "elk", "fox")}
    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(lambda item: hub.send(item[1], item[0], "0.1.0"), packed.items())
        )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [403] * 3


def test_the_hubs_owner_sets_a_quota(hub: HubUnderTest) -> None:
    def set_quota(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hub_server", "set-quota", *arguments],
            env={"FREESOLO_SERVER_DATA_DIR": str(hub.resources.settings.data_dir)},
            capture_output=True,
            text=True,
            check=False,
        )

    made = set_quota("local", "--storage-bytes", "1000", "--environments", "5")
    assert json.loads(made.stdout) == {"org": "local", "storage_bytes": 1000, "environments": 5}
    assert hub.user.get("/v1/orgs/local").json()["environments"]["allowed"] == 5
    assert json.loads(set_quota("local", "--environments", "none").stdout)["environments"] is None
    assert set_quota("nothing").returncode == 3
    assert set_quota("local", "--environments", "-1").returncode == 2
