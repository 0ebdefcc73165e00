"""A gateway on loopback between a real hub and a stand-in for vLLM."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from freesolo.client.hub import HubClient
from freesolo.client.transport import Transport
from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.fingerprints import Fingerprint
from freesolo.domain.lifecycle import DEPLOYMENT_ENDED, DeploymentState
from freesolo.domain.refs import EnvRef
from freesolo.package.archive import Archive
from freesolo.schemas.deployments import Deployment
from freesolo.schemas.leases import LEASE_HEADER
from freesolo.schemas.usage import UsageReport
from serving_backend.app import create_app
from serving_backend.settings import ServingSettings
from tests import tiny_adapter
from tests.factories import make_environment, pack_folder
from tests.fake_engine import FakeEngine, FakeProcess
from tests.hubs import LiveHub, serving

BASE = SMOLLM2_135M.id

_Seen = TypeVar("_Seen")


def said(text: str) -> list[ChatCompletionMessageParam]:
    """Return a conversation of one message of the user."""
    return [{"role": "user", "content": text}]


HELLO = said("hello there")


@dataclass
class Author:
    """Who trains and deploys: the short calls that a test makes of the hub."""

    hub: LiveHub
    folder: Path
    base: str = field(default=BASE, kw_only=True)

    def client(self) -> HubClient:
        """Return the user's client of the hub."""
        return HubClient(self.hub.url, self.hub.user_key)

    def saved_run(self) -> str:
        """Queue and claim a run; its checkpoints are up to the test."""
        with self.client() as hub:
            archive = pack_folder(make_environment(self.folder / "agree"))
            hub.publish(EnvRef.parse("local/agree"), "0.1.0", archive)
            document: dict[str, object] = {
                "model": self.base,
                "environment": {"id": "local/agree"},
                "train": {"lora_rank": 4},
            }
            return hub.create_run(document).id

    def deploy(self, *, scale: float = 0.5, rank: int = 4) -> Deployment:
        """Make a finished run with an adapter, deploy it, and return how that ended."""
        archive = self.adapter("adapter", scale=scale, rank=rank)
        run_id = self.saved_run()
        self.complete(run_id, archive)
        with self.client() as hub:
            return self.settled(hub.deploy(run_id).id)

    def two_adapters(self) -> str:
        """Make a finished run with an adapter after its first step and another as its result."""
        run_id = self.saved_run()
        self.complete(run_id, self.adapter("half"), self.adapter("whole", seed=1))
        return run_id

    def make_live(self, adapter: str, *, stage: bool = False) -> Deployment:
        """Deploy an adapter and wait until it is ready."""
        with self.client() as hub:
            deployment = self.settled(hub.deploy(adapter, stage=stage).id)
        assert deployment.state is DeploymentState.READY, deployment.error
        return deployment

    def adapter(
        self,
        name: str,
        *,
        seed: int = 0,
        scale: float = 0.5,
        rank: int = 4,
        fingerprint: Fingerprint | None = None,
    ) -> Archive:
        """Make an adapter for the base model and pack it; `rank` is what its config claims."""
        folder = self.folder / name
        config = {"r": rank, "base_model_name_or_path": self.base}
        tiny_adapter.build(folder, seed=seed, scale=scale, config=config, fingerprint=fingerprint)
        return tiny_adapter.pack(folder, self.folder / f"{name}.tar.zst")

    def complete(self, run_id: str, *adapters: Archive) -> None:
        """Play the worker: one step for each adapter, the last of which is the result."""
        worker = Transport(self.hub.url, self.hub.worker_key)
        lease = worker.request("POST", "/v1/leases/claim", json_body={"worker_id": "w"}).json()
        assert lease["run_id"] == run_id

        def report(call: str, body: object) -> None:
            worker.request(
                "POST",
                f"/v1/leases/{run_id}/{call}",
                json_body=body,
                headers={LEASE_HEADER: lease["token"]},
            )

        report("start", {"total_steps": len(adapters)})
        for step, archive in enumerate(adapters, start=1):
            worker.request("PUT", f"/v1/blobs/{archive.archive_digest}", upload=archive.path)
            artifact = {
                "tree_digest": archive.tree_digest,
                "archive_digest": archive.archive_digest,
                "size": archive.size,
            }
            report("checkpoints", {"step": step, "adapter": artifact, "state": artifact})
        report("complete", {"step": len(adapters)})
        worker.close()

    def settled(self, deployment_id: str, *, seconds: float = 20) -> Deployment:
        """Wait until a deployment has ended, well or badly, and return it."""
        with self.client() as hub:
            return eventually(
                lambda: hub.deployment(deployment_id),
                lambda deployment: deployment.state in DEPLOYMENT_ENDED,
                seconds=seconds,
            )


@dataclass
class Platform(Author):
    """The gateway between the hub and a stand-in for vLLM."""

    settings: ServingSettings
    url: str
    process: FakeProcess
    # What is closed before the gateway ends.
    clients: ExitStack

    @property
    def engine(self) -> FakeEngine:
        return self.process.engine

    def openai(self, key: str | None = None) -> openai.OpenAI:
        """Return a stock client of OpenAI's with the user's key."""
        client = openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.hub.user_key, max_retries=0
        )
        return self.clients.enter_context(client)

    def usage_of(self, requests: int) -> UsageReport:
        """Wait until the hub has counted so many requests, and return its report."""
        with self.client() as hub:
            return eventually(
                hub.usage, lambda report: sum(line.requests for line in report.usage) == requests
            )


def eventually(
    look: Callable[[], _Seen], is_so: Callable[[_Seen], bool], *, seconds: float = 20
) -> _Seen:
    """Look until it is so, for at most so many seconds; return what was seen."""
    looking = Retrying(
        retry=retry_if_not_result(is_so), wait=wait_fixed(0.05), stop=stop_after_delay(seconds)
    )
    seen: _Seen = looking(look)
    return seen


class StartGateway(Protocol):
    """Starts a gateway for a hub; `changes` are settings that are not the usual ones."""

    def __call__(self, hub: LiveHub, **changes: object) -> Platform: ...


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start a gateway for a hub; a second one on the same data takes over from the first."""
    with ExitStack() as stack:

        def start(hub: LiveHub, **changes: object) -> Platform:
            process = FakeProcess(FakeEngine(), usage=tmp_path / "gateway" / "usage")
            settings = ServingSettings(
                hub_url=hub.url,
                api_key=hub.gateway_key,
                data_dir=tmp_path / "gateway",
                cache_dir=tmp_path / "cache",
                engine_wait_seconds=60,
            ).model_copy(update=changes)
            app = create_app(settings, process=lambda _entry, _settings: process)
            url = stack.enter_context(serving(app))
            clients = stack.enter_context(ExitStack())
            return Platform(hub, tmp_path, settings, url, process, clients)

        yield start


@pytest.fixture
def platform(live_hub: LiveHub, start_gateway: StartGateway) -> Platform:
    """A hub and a gateway with nothing deployed."""
    return start_gateway(live_hub)
