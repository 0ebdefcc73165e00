"""What Prometheus is told."""

from pathlib import Path

from fastapi.testclient import TestClient

from hub_server.settings import HubSettings
from tests.component.hub.harness import HubUnderTest, SettableClock, error_of


def page(hub: HubUnderTest) -> dict[str, float]:
    """Return what a Prometheus on the hub's own machine reads."""
    answer = TestClient(hub.app, client=("127.0.0.1", 50000)).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_requests_are_counted_by_route_and_status(hub: HubUnderTest) -> None:
    hub.publish("secret-name")
    hub.user.get("/v1/envs/local/secret-name")
    hub.user.get("/v1/envs/local/unknown")
    hub.user.get("/v1/nothing")
    hub.user.request("BREW", "/v1/envs")
    counted = page(hub)
    route = 'route="/v1/envs/{org}/{name}"'
    assert counted[f'freesolo_http_requests_total{{method="GET",{route},status="200"}}'] == 1
    assert counted[f'freesolo_http_requests_total{{method="GET",{route},status="404"}}'] == 1
    assert counted[f"freesolo_http_request_seconds_count{{{route}}}"] == 2
    assert counted['freesolo_http_requests_total{method="GET",route="",status="404"}'] == 1
    assert not any("secret-name" in name or "BREW" in name or "local" in name for name in counted)


def test_publishes_downloads_and_bytes_are_counted(hub: HubUnderTest) -> None:
    size = hub.publish()["size"]
    hub.publish()
    assert hub.user.get("/v1/envs/local/agree/versions/0.1.0/archive").status_code == 200
    counted = page(hub)
    assert counted["freesolo_publishes_total"] == 1
    assert counted['freesolo_downloads_total{kind="archive"}'] == 1
    assert counted['freesolo_http_bytes_total{direction="in"}'] == 2 * size
    assert counted['freesolo_http_bytes_total{direction="out"}'] > size


def test_the_feed_the_webhooks_and_the_pool_are_looked_up(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    counted = page(any_hub)
    assert counted["freesolo_feed_serial"] == 1
    assert counted["freesolo_webhook_deliveries_waiting"] == 0
    states = [f'freesolo_database_connections{{state="{state}"}}' for state in ("in use", "idle")]
    assert sum(counted[state] for state in states) >= 1


def test_a_hub_without_its_database_still_tells_what_it_counted(hub: HubUnderTest) -> None:
    hub.user.get("/healthz")
    Path(hub.resources.settings.data_dir / "hub.db").write_bytes(b"no database")
    hub.resources.readers.kw["bind"].dispose()
    assert page(hub)['freesolo_http_bytes_total{direction="out"}'] > 0


def test_metrics_answer_on_this_machine_alone(hub: HubUnderTest) -> None:
    answer = TestClient(hub.app, client=("10.1.2.3", 50000)).get("/metrics")
    assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden")


def test_a_setting_opens_metrics_to_others(hub_settings: HubSettings) -> None:
    settings = hub_settings.model_copy(update={"metrics_public": True})
    with HubUnderTest(settings, SettableClock()) as hub:
        stranger = TestClient(hub.app, client=("10.1.2.3", 50000))
        assert stranger.get("/metrics").status_code == 200
