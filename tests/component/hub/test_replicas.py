"""The registry of engines: found while they say that they live, their keys for gateways only."""

from typing import Any

from httpx2 import Response
from sqlalchemy import select

from hub_server.models import Replica
from hub_server.upkeep import take_back_lost
from tests.component.hub.harness import MODEL, REPLICA, HubUnderTest, error_of

LIFE = "life-of-engine-1"


def announce(hub: HubUnderTest, life: str = LIFE, **changes: str) -> Response:
    return hub.gateway.put(f"/v1/gateway/replicas/{life}", json=REPLICA | changes)


def living(hub: HubUnderTest) -> list[dict[str, Any]]:
    replicas: list[dict[str, Any]] = hub.gateway.get("/v1/gateway/replicas").json()["replicas"]
    return replicas


def test_an_engine_is_found_with_all_that_a_gateway_needs(any_hub: HubUnderTest) -> None:
    assert announce(any_hub).json() == {"lease_seconds": 10.0}

    [replica] = living(any_hub)
    assert replica == {**REPLICA, "life": LIFE, "started_at": "2030-01-01T00:00:00Z"}


def test_an_engine_that_falls_silent_is_not_found_and_then_forgotten(hub: HubUnderTest) -> None:
    announce(hub)
    hub.clock.advance(8)
    announce(hub, state="draining")
    hub.clock.advance(8)
    assert [replica["state"] for replica in living(hub)] == ["draining"]

    hub.clock.advance(8)
    assert living(hub) == []
    take_back_lost(hub.resources)
    with hub.resources.readers() as session:
        assert session.scalars(select(Replica)).all() == []


def test_an_engine_that_ends_takes_its_leave(hub: HubUnderTest) -> None:
    announce(hub)
    announce(hub, "life-of-engine-2")

    for _ in range(2):
        assert hub.gateway.delete(f"/v1/gateway/replicas/{LIFE}").status_code == 204

    assert [replica["life"] for replica in living(hub)] == ["life-of-engine-2"]


def test_the_key_of_an_engine_is_not_in_the_database_in_the_clear(hub: HubUnderTest) -> None:
    announce(hub)

    with hub.resources.readers() as session:
        [stored] = session.scalars(select(Replica.encrypted_key)).all()
    assert REPLICA["api_key"].encode() not in stored


def test_only_gateways_may_ask_or_tell(hub: HubUnderTest) -> None:
    for client in (hub.user, hub.worker):
        assert client.get("/v1/gateway/replicas").status_code == 403
        assert client.put(f"/v1/gateway/replicas/{LIFE}", json=REPLICA).status_code == 403
        assert client.delete(f"/v1/gateway/replicas/{LIFE}").status_code == 403
        assert client.get(f"/v1/gateway/base-models/{MODEL}").status_code == 403


def test_an_address_is_a_host_and_a_port(hub: HubUnderTest) -> None:
    for url in ("file:///etc/passwd", "http://user@host", "http://host/path", "10.0.0.5:9000"):
        assert announce(hub, url=url).status_code == 422


def test_an_engine_asks_what_its_base_model_is(hub: HubUnderTest) -> None:
    entry = hub.gateway.get(f"/v1/gateway/base-models/{MODEL}").json()
    assert (entry["id"], entry["context"]) == (MODEL, 8192)

    missing = hub.gateway.get(f"/v1/gateway/base-models/{MODEL}s")
    assert missing.status_code == 404
    assert MODEL in error_of(missing)["hint"]
