"""The ledger: every request once, whoever tells of it, and balances that add up."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select

from freesolo.domain.prices import MOST, from_dollars
from freesolo.errors import InvalidInput
from freesolo.schemas.usage import BillingMode
from hub_server.billing import service
from hub_server.models import Balance, Credit, Hold, Usage
from hub_server.settings import HubSettings
from hub_server.upkeep import take_back_lost
from tests.component.hub.harness import MODEL, HubUnderTest, SettableClock, error_of

Record = dict[str, Any]
COUNTS = {
    "prompt_tokens": 10,
    "cached_tokens": 4,
    "completion_tokens": 5,
    "reasoning_tokens": 2,
}
# 6 tokens read at 3, 4 that were cached at 1, 5 said at 10.
AMOUNT = 72


@pytest.fixture
def record(any_hub: HubUnderTest) -> Callable[..., Record]:
    """Make a record of the user's; what is named differs from the usual."""
    target = any_hub.resolve(MODEL).json()

    def make(name: str, **changes: object) -> Record:
        return {
            "id": name,
            "org": target["org"],
            "key_id": target["key_id"],
            "model": MODEL,
            "prices": {"prompt": 3, "cached": 1, "completion": 10},
            "created_at": "2030-01-01T12:00:00Z",
            "witness": "gateway",
            **COUNTS,
            **changes,
        }

    return make


def tell(hub: HubUnderTest, *records: Record) -> Response:
    return hub.gateway.post("/v1/gateway/usage", json={"records": list(records)})


def credit(hub: HubUnderTest, amount: int) -> None:
    with hub.resources.sessions.begin() as session:
        service.credit(session, "local", amount, note="test", now=hub.clock())


def hold(hub: HubUnderTest, name: str, amount: int, **more: str) -> Response:
    body = {"id": name, "org": "local", "amount": amount, **more}
    return hub.gateway.post("/v1/gateway/holds", json=body)


def balance(hub: HubUnderTest) -> tuple[int, int]:
    shown = hub.user.get("/v1/balance").json()
    return shown["balance"], shown["held"]


def lines(hub: HubUnderTest, **params: str | list[str]) -> list[Record]:
    found: list[Record] = hub.user.get("/v1/usage", params=params).json()["usage"]
    return found


def engine_tokens(hub: HubUnderTest, life: str) -> Record:
    found: Record = hub.gateway.get(f"/v1/gateway/engines/{life}/tokens").json()
    return found


@pytest.fixture(autouse=True)
def adds_up(any_hub: HubUnderTest) -> Iterator[None]:
    """Whatever a test did, every balance is the org's credits less what its requests cost."""
    yield
    with any_hub.resources.readers() as session:
        for found in session.scalars(select(Balance)):
            given, used, held = (
                session.execute(
                    select(func.coalesce(func.sum(table.amount), 0)).where(
                        table.org_id == found.org_id
                    )
                ).scalar_one()
                for table in (Credit, Usage, Hold)
            )
            assert (found.balance, found.held) == (given - used, held)


def test_a_request_is_counted_once_whoever_tells_and_however_often(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    tell(any_hub, record("a"), record("b", witness="engine"), record("a"))
    assert tell(any_hub, record("b"), record("a", witness="engine")).status_code == 204

    (key,) = any_hub.user.get("/v1/keys").json()["keys"]
    assert lines(any_hub) == [
        {
            "key_id": key["id"],
            "key_name": "tests",
            "key_prefix": key["prefix"],
            "model": MODEL,
            "day": None,
            "requests": 2,
            **{name: 2 * count for name, count in COUNTS.items()},
            "amount": 2 * AMOUNT,
        }
    ]
    assert balance(any_hub) == (-2 * AMOUNT, 0)


@pytest.mark.parametrize("told", [("gateway", "engine"), ("engine", "gateway")])
@pytest.mark.parametrize("together", [True, False])
def test_what_the_gateway_failed_to_answer_is_not_billed_whatever_the_engine_says(
    any_hub: HubUnderTest, record: Callable[..., Record], told: tuple[str, str], *, together: bool
) -> None:
    by = {
        "gateway": record("a", outcome="void"),
        "engine": record("a", witness="engine", engine="life"),
    }
    records = [by[witness] for witness in told]
    for batch in [records] if together else [[each] for each in records]:
        assert tell(any_hub, *batch).status_code == 204
    tell(any_hub, by["gateway"])

    assert lines(any_hub) == []
    assert balance(any_hub) == (0, 0)
    # It is nobody's money, and still the engine's work.
    assert engine_tokens(any_hub, "life") == {
        "prompt_tokens": COUNTS["prompt_tokens"],
        "completion_tokens": COUNTS["completion_tokens"],
        "lost": 0,
    }


def test_what_nobody_knows_is_not_billed_but_told_to_the_operator(
    any_hub: HubUnderTest, record: Callable[..., Record], caplog: pytest.LogCaptureFixture
) -> None:
    tell(any_hub, record("known"), record("a", outcome="void"))
    for _ in range(2):
        tell(any_hub, *(record(name, witness="engine", outcome="lost") for name in ("a", "b")))
    told = [each for each in caplog.records if each.message == "request lost"]
    assert [(each.levelname, vars(each)["generation"]) for each in told] == [("ERROR", "b")]
    assert b"\nfreesolo_lost_requests_total 1.0\n" in any_hub.resources.metrics.page()
    (line,) = lines(any_hub)
    assert line["requests"] == 1
    assert balance(any_hub) == (-AMOUNT, 0)


def test_what_one_life_of_an_engine_answered_is_summed_up_over_all_orgs(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    other = any_hub.resolve(MODEL, key=any_hub.make_member("other")).json()
    theirs = {"org": other["org"], "key_id": other["key_id"]}
    tell(
        any_hub,
        record("a", engine="one"),
        record("b", engine="one", **theirs),
        record("c", engine="one", outcome="lost", prompt_tokens=0, completion_tokens=0),
        record("d", engine="two"),
        record("e"),
    )

    assert engine_tokens(any_hub, "one") == {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "lost": 1,
    }
    assert engine_tokens(any_hub, "none") == {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "lost": 0,
    }
    assert any_hub.user.get("/v1/gateway/engines/one/tokens").status_code == 403


def test_usage_is_summed_up_by_key_model_and_day_and_between_days(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    days = ("2029-12-31T23:59:59Z", "2030-01-01T00:00:00Z", "2030-01-03T10:00:00+02:00")
    tell(any_hub, *(record(day, created_at=day) for day in days))

    by_day = lines(any_hub, by=["day"])
    assert [line["day"] for line in by_day] == ["2029-12-31", "2030-01-01", "2030-01-03"]
    (whole,) = lines(any_hub, by=["model"], since="2030-01-01", until="2030-01-02")
    assert (whole["requests"], whole["model"], whole["key_name"]) == (1, MODEL, None)
    assert len(lines(any_hub, by=["key", "model", "day"])) == 3
    assert any_hub.user.get("/v1/usage", params={"by": "week"}).status_code == 422


def test_keys_of_one_name_are_told_apart(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    keys = [any_hub.user.post("/v1/keys", json={"name": "ci"}).json() for _ in range(2)]
    tell(any_hub, record("a", key_id=keys[0]["id"]), record("b", key_id=keys[1]["id"]))
    found = lines(any_hub, by=["key"])
    assert [(line["key_name"], line["requests"]) for line in found] == [("ci", 1), ("ci", 1)]
    assert {(line["key_id"], line["key_prefix"]) for line in found} == {
        (key["id"], key["prefix"]) for key in keys
    }


def test_another_org_sees_none_of_it(any_hub: HubUnderTest, record: Callable[..., Record]) -> None:
    tell(any_hub, record("a"))
    other = any_hub.client(any_hub.make_member("other"))
    assert other.get("/v1/usage").json() == {"usage": []}
    assert other.get("/v1/balance").json() == {"mode": "meter", "balance": 0, "held": 0}


@pytest.mark.parametrize(
    "change", [{"key_id": "00000000-0000-0000-0000-000000000000"}, {"key_id": "x"}, {"org": "no"}]
)
def test_tokens_of_nobody_are_refused(
    any_hub: HubUnderTest, record: Callable[..., Record], change: Record
) -> None:
    response = tell(any_hub, record("a"), record("b", **change))
    assert response.status_code == 422
    assert next(iter(change.values())) in error_of(response)["message"]
    assert lines(any_hub) == []


def test_only_gateways_tell_what_was_used(any_hub: HubUnderTest) -> None:
    for path, body in (
        ("usage", {"records": []}),
        ("holds", {"id": "a", "org": "local", "amount": 1}),
        ("holds/renew", {"ids": []}),
    ):
        assert any_hub.user.post(f"/v1/gateway/{path}", json=body).status_code == 403


def test_a_hold_is_refused_when_the_balance_does_not_cover_it(any_hub: HubUnderTest) -> None:
    credit(any_hub, 100)
    assert hold(any_hub, "a", 60).status_code == 204
    refused = hold(any_hub, "b", 41)
    assert (refused.status_code, error_of(refused)["code"]) == (402, "payment_required")
    assert "$0.000000000041" in error_of(refused)["message"]
    assert hold(any_hub, "a", 60).status_code == 204
    assert balance(any_hub) == (100, 60)


def test_what_is_held_for_a_request_goes_over_to_its_second_try(any_hub: HubUnderTest) -> None:
    credit(any_hub, 500)
    hold(any_hub, "a", 300)
    assert hold(any_hub, "b", 300).status_code == 402
    for _ in range(2):
        assert hold(any_hub, "b", 300, instead_of="a").status_code == 204
    assert balance(any_hub) == (500, 300)

    # Nothing is free for a third that costs more than there is; what is held stays.
    assert hold(any_hub, "c", 501, instead_of="b").status_code == 402
    assert balance(any_hub) == (500, 300)
    any_hub.make_member("acme")
    assert hold(any_hub, "d", 0, org="acme", instead_of="b").status_code == 204
    assert balance(any_hub) == (500, 300)


def test_a_request_that_has_ended_frees_what_was_held_for_it(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    credit(any_hub, 1000)
    hold(any_hub, "a", 300)
    hold(any_hub, "b", 300)
    tell(any_hub, record("a"), record("b", outcome="void"))
    assert balance(any_hub) == (1000 - AMOUNT, 0)


def test_what_a_silent_gateway_held_is_freed_and_what_the_engine_counted_is_charged(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    credit(any_hub, 1000)
    hold(any_hub, "a", 300)
    hold(any_hub, "kept", 50)
    for _ in range(5):
        any_hub.clock.advance(service.HOLD_SECONDS / 4)
        any_hub.gateway.post("/v1/gateway/holds/renew", json={"ids": ["kept", "unknown"]})
        take_back_lost(any_hub.resources)
    assert balance(any_hub) == (1000, 50)
    tell(any_hub, record("a", witness="engine"))
    assert balance(any_hub) == (1000 - AMOUNT, 50)


def test_a_target_says_what_its_tokens_cost_and_whether_that_is_paid_beforehand(
    hub_settings: HubSettings,
) -> None:
    settings = hub_settings.model_copy(update={"billing": BillingMode.PREPAID})
    with HubUnderTest(settings, SettableClock()) as hub:
        target = hub.resolve(MODEL).json()
        assert target["prices"] == {"prompt": 2400, "cached": 2400, "completion": 9600}
        assert target["prepaid"] is True
        assert hub.user.get("/v1/balance").json()["mode"] == "prepaid"


def test_a_balance_that_no_database_could_keep_is_refused(
    any_hub: HubUnderTest, record: Callable[..., Record]
) -> None:
    credit(any_hub, MOST)
    for amount in (1, MOST):
        with pytest.raises(InvalidInput, match="cannot be kept"):
            credit(any_hub, amount)
    credit(any_hub, -MOST)
    credit(any_hub, -MOST)
    refused = tell(any_hub, record("a"))
    assert (refused.status_code, error_of(refused)["code"]) == (422, "invalid_input")
    assert balance(any_hub) == (-MOST, 0)
    assert hold(any_hub, "a", MOST).status_code == 402


def test_a_credit_names_its_org_as_people_write_it_and_says_why_in_few_words(
    any_hub: HubUnderTest,
) -> None:
    now = any_hub.clock()
    with any_hub.resources.sessions.begin() as session:
        assert service.credit(session, "LOCAL", 5, note="n" * 200, now=now) == 5
        with pytest.raises(InvalidInput, match="at most 200 characters"):
            service.credit(session, "local", 5, note="n" * 201, now=now)


def test_credits_are_dollars_to_the_last_digit(any_hub: HubUnderTest) -> None:
    credit(any_hub, from_dollars("12.500000000001"))
    credit(any_hub, from_dollars("-2.5"))
    assert balance(any_hub) == (10_000_000_000_001, 0)
