"""Budgets: who exceeds one waits, and takes nothing from others."""

import base64
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock, error_of

LIMITED = {"rate_reads": "3/hour", "rate_downloads": "2/hour", "rate_writes": "2/hour"}
READ = "/v1/envs"


@pytest.fixture
def hub(hub_settings: HubSettings) -> Iterator[HubUnderTest]:
    """A hub of which little may be asked in an hour. Its keys were let in once."""
    with HubUnderTest(hub_settings.model_copy(update=LIMITED), SettableClock()) as hub:
        yield hub


def statuses(client: TestClient, path: str, times: int) -> list[int]:
    """Return what the same request is answered, again and again."""
    return [client.get(path).status_code for _ in range(times)]


def test_a_budget_is_told_with_every_answer(hub: HubUnderTest) -> None:
    hub.user.get(READ)
    answer = hub.user.get(READ)
    assert answer.headers["ratelimit-policy"] == '"reads";q=3;w=3600'
    assert answer.headers["ratelimit"].startswith('"reads";r=2;t=')


def test_who_exceeds_a_budget_is_told_when_to_come_back(hub: HubUnderTest) -> None:
    # The first request of a key is its address's.
    assert statuses(hub.user, READ, 5) == [200, 200, 200, 200, 429]
    answer = hub.user.get(READ)
    assert error_of(answer)["code"] == "limit_exceeded"
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert error_of(answer)["retry_after"] == int(answer.headers["retry-after"])
    assert answer.headers["ratelimit"].startswith('"reads";r=0;')


def test_reads_downloads_and_writes_have_budgets_of_their_own(hub: HubUnderTest) -> None:
    statuses(hub.user, READ, 5)
    assert statuses(hub.user, "/v1/envs/local/none/resolve", 3) == [404, 404, 429]
    assert hub.user.post("/v1/projects", json={"slug": "new"}).status_code == 201


def test_a_key_has_a_budget_of_its_own(hub: HubUnderTest) -> None:
    other = hub.client(hub.make_member("other"))
    statuses(other, READ, 1)
    statuses(hub.user, READ, 5)
    assert other.get(READ).status_code == 200


def test_making_keys_up_gives_no_new_budget(hub: HubUnderTest) -> None:
    answers = [hub.client(f"fslo_{number}").get(READ).status_code for number in range(4)]
    assert answers == [401, 401, 401, 429]


def test_a_key_that_is_refused_has_no_budget_of_its_own(hub: HubUnderTest) -> None:
    answers = statuses(hub.client("fslo_nobody"), "/v1/nothing", 2)
    assert answers == [404, 404]
    assert statuses(hub.client("fslo_nobody"), READ, 2) == [401, 429]


def test_writing_a_key_in_another_way_gives_no_new_budget(hub: HubUnderTest) -> None:
    def ask(user: str) -> int:
        header = base64.b64encode(f"{user}:{hub.keys.user}".encode()).decode()
        client = hub.client(None)
        answer = client.get("/simple-env/local/none/", headers={"Authorization": f"Basic {header}"})
        return answer.status_code

    # The first request of each is its address's.
    assert [ask(user) for user in ("ada", "bob")] == [404, 404]
    assert [ask(user) for user in ("ada", "bob", "ada", "bob")] == [404, 404, 429, 429]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["2001:db8::1", "2001:db8::2"], [200, 429]),
        (["2001:db8::1", "2001:db8:0:1::1"], [200, 200]),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2"], [200, 200]),
        (["not:an:address", "nor this"], [200, 200]),
    ],
)
def test_an_address_is_what_one_customer_is_given(
    hub_settings: HubSettings, addresses: list[str], expected: list[int]
) -> None:
    settings = hub_settings.model_copy(update={"rate_reads": "1/hour"})
    with HubUnderTest(settings, SettableClock()) as hub:
        answers = [
            TestClient(hub.app, client=(address, 1), raise_server_exceptions=False).get(READ)
            for address in addresses
        ]
    assert [answer.status_code for answer in answers] == expected


def test_whoever_has_no_key_is_counted_by_address(hub: HubUnderTest) -> None:
    assert statuses(hub.client(None), READ, 4) == [200, 200, 200, 429]


def test_the_platforms_own_processes_are_not_counted(hub: HubUnderTest) -> None:
    claims = [hub.claim() for _ in range(10)]
    assert claims == [{}] * 10


def test_health_is_not_counted(hub: HubUnderTest) -> None:
    assert set(statuses(hub.client(None), "/healthz", 10)) == {200}


def test_a_budget_can_be_turned_off(hub_settings: HubSettings) -> None:
    settings = hub_settings.model_copy(update={**LIMITED, "rate_reads": "off"})
    with HubUnderTest(settings, SettableClock()) as hub:
        assert set(statuses(hub.user, READ, 10)) == {200}
        assert "ratelimit" not in hub.user.get(READ).headers


@pytest.mark.parametrize("rate", ["", "many", "5", "-1/minute", "5/eon"])
def test_what_is_no_rate_is_refused_at_the_start(rate: str) -> None:
    with pytest.raises(ValidationError):
        HubSettings(rate_reads=rate)
