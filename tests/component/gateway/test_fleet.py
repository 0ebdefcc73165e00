"""Engines on other machines: found, shared out, passed over when they fail, and drained."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from sqlalchemy import select

from freesolo.domain.prices import dollars
from freesolo.schemas.replicas import Replica, ReplicaList, ReplicaState
from freesolo.schemas.usage import BillingMode, Outcome
from hub_server.models import Usage
from hub_server.settings import HubSettings
from serving_backend.engine_host import create_app
from serving_backend.settings import EngineHostSettings
from tests.component.gateway.conftest import (
    BASE,
    Platform,
    StartGateway,
    eventually,
    said,
)
from tests.fake_engine import FakeEngine, FakeProcess
from tests.hubs import LiveHub, add_credit, live_hub, resources_of, serving
from tests.ports import free_port


@dataclass
class Host:
    """A host of an engine, in this process."""

    hub: LiveHub
    process: FakeProcess
    url: str
    end: Callable[[], None]

    @property
    def engine(self) -> FakeEngine:
        return self.process.engine


StartHost = Callable[[LiveHub], Host]


@pytest.fixture
def start_host(tmp_path: Path) -> Iterator[StartHost]:
    """Start hosts of engines for a hub; each returns when the hub knows it."""
    with ExitStack() as stack:

        def start(hub: LiveHub) -> Host:
            folder = tmp_path / f"host-{free_port()}"
            settings = EngineHostSettings(
                hub_url=hub.url,
                api_key=hub.gateway_key,
                data_dir=folder,
                cache_dir=tmp_path / "cache",
                port=free_port(),
                model=BASE,
            )
            process = FakeProcess(FakeEngine(), usage=folder / "usage")
            app = create_app(settings, process=lambda _entry, _settings: process)
            running = ExitStack()
            stack.push(running)
            # So that a test that fails does not wait for a request that nobody lets end.
            stack.callback(process.engine.release.set)
            before = {replica.life for replica in living(hub)}
            url = running.enter_context(serving(app, port=settings.port))
            eventually(
                lambda: living(hub), lambda found: bool({each.life for each in found} - before)
            )
            return Host(hub, process, url, running.close)

        yield start


def living(hub: LiveHub) -> list[Replica]:
    """Return the engines that the hub knows."""
    response = httpx.get(
        f"{hub.url}/v1/gateway/replicas",
        headers={"Authorization": f"Bearer {hub.gateway_key}"},
        trust_env=False,
    )
    return ReplicaList.model_validate_json(response.content).replicas


def ask(platform: Platform, model: str = BASE, text: str = "hello") -> str | None:
    """Ask once; return what was said."""
    answer = platform.openai().chat.completions.create(model=model, messages=said(text))
    return answer.choices[0].message.content


def answers_at_last(platform: Platform) -> bool:
    try:
        return ask(platform, text="are you there") is not None
    except openai.InternalServerError:
        return False


@pytest.fixture
def gateway(live_hub: LiveHub, start_gateway: StartGateway) -> Platform:
    """A gateway that starts no engine itself."""
    return start_gateway(live_hub, own_engines=False)


@pytest.fixture
def prepaid(hub_settings: HubSettings, start_gateway: StartGateway) -> Iterator[Platform]:
    """The same where tokens are paid for beforehand."""
    settings = hub_settings.model_copy(update={"billing": BillingMode.PREPAID})
    with live_hub(settings) as hub:
        yield start_gateway(hub, own_engines=False)


def test_without_any_engine_a_gateway_that_starts_none_says_so(gateway: Platform) -> None:
    with pytest.raises(openai.InternalServerError, match="No engine serves") as refused:
        ask(gateway)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["Retry-After"]
    assert gateway.process.starts == 0


def test_an_engine_elsewhere_answers_and_its_host_counts_too(
    gateway: Platform, start_host: StartHost
) -> None:
    host = start_host(gateway.hub)
    assert eventually(lambda: answers_at_last(gateway), bool)

    assert gateway.process.starts == 0
    (line,) = gateway.usage_of(requests=1).usage
    assert line.completion_tokens > 0
    [row] = ledger(gateway.hub)
    assert row.engine == living(gateway.hub)[0].life
    # The engine's own account goes to the hub from its host.
    journals = host.process.usage
    assert journals is not None
    eventually(lambda: [*journals.glob("engines/*/closed/*")], lambda left: not left)


def test_an_adapter_stays_with_one_engine_of_several(
    gateway: Platform, start_host: StartHost
) -> None:
    hosts = [start_host(gateway.hub), start_host(gateway.hub)]
    assert eventually(lambda: answers_at_last(gateway), bool)
    deployment = gateway.deploy()

    for _ in range(6):
        assert "adapter-" in str(ask(gateway, deployment.model))

    assert sorted(len(host.engine.adapters) for host in hosts) == [0, 1]


def test_an_engine_that_dies_is_passed_over_and_its_request_answered_by_another(
    gateway: Platform, start_host: StartHost
) -> None:
    first, second = start_host(gateway.hub), start_host(gateway.hub)
    assert eventually(lambda: answers_at_last(gateway), bool)
    deployment = gateway.deploy()
    home, other = (first, second) if first.engine.adapters else (second, first)

    home.process.crash()

    for _ in range(5):
        assert "adapter-" in str(ask(gateway, deployment.model))
    assert other.engine.adapters or home.process.starts > 1
    outcomes = [row.outcome for row in ledger(gateway.hub, requests=6)]
    assert outcomes.count(Outcome.COUNTED) == 6
    assert set(outcomes) <= {Outcome.COUNTED, Outcome.VOID}


def test_who_pays_beforehand_pays_once_for_what_another_engine_answers(
    prepaid: Platform, start_host: StartHost
) -> None:
    add_credit(prepaid.hub, "1000")
    first, second = start_host(prepaid.hub), start_host(prepaid.hub)
    assert eventually(lambda: answers_at_last(prepaid), bool)
    deployment = prepaid.deploy()
    with prepaid.client() as hub:
        left = eventually(hub.balance, lambda balance: balance.held == 0)
    # Enough to begin one request, and not two.
    add_credit(prepaid.hub, dollars(10**6 - left.balance))

    (first if first.engine.adapters else second).process.crash()

    answer = prepaid.openai().chat.completions.create(
        model=deployment.model, messages=said("hello"), max_completion_tokens=4
    )
    assert "adapter-" in str(answer.choices[0].message.content)
    eventually(
        lambda: [row.outcome for row in ledger(prepaid.hub) if row.model == deployment.model],
        lambda outcomes: sorted(outcomes) == [Outcome.COUNTED, Outcome.VOID],
    )


def test_an_engine_that_dies_is_started_again_and_has_its_adapters_back(
    gateway: Platform, start_host: StartHost
) -> None:
    host = start_host(gateway.hub)
    assert eventually(lambda: answers_at_last(gateway), bool)
    deployment = gateway.deploy()
    [before] = living(gateway.hub)

    host.process.crash()

    eventually(
        lambda: living(gateway.hub),
        lambda found: bool(found) and found[0].life != before.life,
    )
    assert eventually(lambda: answers_at_last(gateway), bool)
    assert "adapter-" in str(ask(gateway, deployment.model))
    assert len(host.engine.adapters) == 1


def test_a_host_that_ends_lets_its_requests_end_and_takes_no_more(
    gateway: Platform, start_host: StartHost
) -> None:
    host = start_host(gateway.hub)
    assert eventually(lambda: answers_at_last(gateway), bool)
    stream = gateway.openai().chat.completions.create(
        model=BASE, messages=said("please hold on for me"), stream=True
    )
    next(stream)
    ending = threading.Thread(target=host.end)
    ending.start()
    eventually(
        lambda: living(gateway.hub),
        lambda found: [each.state for each in found] == [ReplicaState.DRAINING],
    )
    second = start_host(gateway.hub)
    # The gateway looks once a second who takes requests.
    tested = len(second.engine.requests)
    eventually(lambda: answers_at_last(gateway) and len(second.engine.requests) > tested, bool)
    heard = len(host.engine.requests)
    for _ in range(3):
        ask(gateway)
    assert len(host.engine.requests) == heard

    host.engine.release.set()

    said_on = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "for me" in said_on
    ending.join(timeout=30)
    assert not ending.is_alive()
    assert len(living(gateway.hub)) == 1


def test_a_host_loads_adapters_only_for_who_has_its_engine_s_key(
    live_hub: LiveHub, start_host: StartHost
) -> None:
    host = start_host(live_hub)
    artifact = {
        "tree_digest": f"sha256:{'0' * 64}",
        "archive_digest": f"sha256:{'0' * 64}",
        "size": 1,
    }
    for headers in ({}, {"Authorization": f"Bearer {live_hub.gateway_key}"}):
        response = httpx.post(
            f"{host.url}/v1/adapters", json=artifact, headers=headers, trust_env=False
        )
        assert response.status_code == 401
    assert host.engine.adapters == {}


def ledger(hub: LiveHub, *, requests: int = 1) -> list[Usage]:
    """Return the rows of the hub's ledger, when so many requests were counted."""

    def rows() -> list[Usage]:
        with resources_of(hub.app).readers() as session:
            return list(session.scalars(select(Usage)))

    return eventually(
        rows,
        lambda found: sum(row.outcome is Outcome.COUNTED for row in found) >= requests,
    )
