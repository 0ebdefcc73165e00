"""The hub's routes as short calls, so that a test shows only what it is about."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from fastapi.testclient import TestClient
from httpx2 import Response

from freesolo.package.archive import Archive
from hub_server.app import create_app
from hub_server.settings import HubSettings
from hub_server.upkeep import take_back_lost
from tests.factories import content_digest, make_artifact, make_environment, pack_folder
from tests.hubs import Keys, make_keys, resources_of

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# What the host of an engine tells of it.
REPLICA = {
    "base_model": MODEL,
    "served_as": "0123456789abcdef",
    "url": "http://10.0.0.5:9000",
    "host_url": "http://10.0.0.5:9001",
    "api_key": "the-key-of-an-engine",
    "state": "ready",
}

# The JSON object of an answer.
Document = dict[str, Any]


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the moment the clock shows."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._now += timedelta(seconds=seconds)


class HubUnderTest:
    """A started hub with a client for each kind of key; `path` is for the files of the test."""

    def __init__(
        self, settings: HubSettings, clock: SettableClock, keys: Keys | None = None
    ) -> None:
        self.clock = clock
        self.path = settings.data_dir.parent
        self.app = create_app(settings, clock=clock)
        self.resources = resources_of(self.app)
        self.keys = keys or make_keys(self.app)
        self.user = self.client(self.keys.user)
        self.worker = self.client(self.keys.worker)
        self.gateway = self.client(self.keys.gateway)

    def __enter__(self) -> Self:
        self.user.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.user.__exit__(kind, error, traceback)

    def client(self, key: str | None) -> TestClient:
        """Return a client that carries `key`."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return TestClient(self.app, headers=headers, raise_server_exceptions=False)

    def make_member(self, org: str) -> str:
        """Make an org and return the key of one who belongs to it."""
        return make_keys(self.app, org=org).user

    def pack(self, name: str = "agree", version: str = "0.1.0", *, comment: str = "") -> Archive:
        """Make an environment's archive; another `comment` makes it another tree."""
        place = self.path / f"{name}-{version}-{comment}"
        folder = make_environment(place, name=name, version=version)
        (folder / "README.md").write_text(comment)
        return pack_folder(folder)

    def send(self, archive: Archive, name: str, version: str, **headers: str) -> Response:
        """Publish an archive as `local/<name> <version>`."""
        return self.user.put(
            f"/v1/envs/local/{name}/versions/{version}",
            content=archive.path.read_bytes(),
            headers={"Content-Digest": content_digest(archive.archive_digest), **headers},
        )

    def publish(
        self, name: str = "agree", version: str = "0.1.0", *, comment: str = ""
    ) -> Document:
        """Pack and publish an environment; return the answer's document."""
        response = self.send(self.pack(name, version, comment=comment), name, version)
        assert response.is_success, response.text
        return _document(response)

    def download(self, path: str, client: TestClient | None = None) -> bytes:
        """Return the bytes that a path leads to: the hub's answer, or what its store hands out."""
        answer = (client or self.user).get(path, follow_redirects=False)
        if answer.status_code == 302:
            return httpx.get(answer.headers["location"], trust_env=False).content
        assert answer.status_code == 200, answer.text
        return answer.content

    def submit(self, name: str = "agree", **train: object) -> str:
        """Queue a run on an environment and return its id."""
        spec = {"model": MODEL, "environment": {"id": f"local/{name}"}, "train": train}
        response = self.user.post("/v1/runs", json={"spec": spec})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def run(self, run_id: str) -> Document:
        """Return a run as its owner sees it."""
        return _document(self.user.get(f"/v1/runs/{run_id}"))

    def claim(self, worker_id: str = "worker-1") -> Document:
        """Return the lease that a worker gets, empty if nothing waits."""
        response = self.worker.post("/v1/leases/claim", json={"worker_id": worker_id})
        assert response.is_success, response.text
        return {} if response.status_code == 204 else _document(response)

    def report(self, lease: Document, call: str, body: object = None) -> Response:
        """Make one of the calls of the worker that holds `lease`."""
        return self.worker.post(
            f"/v1/leases/{lease['run_id']}/{call}",
            json=body,
            headers={"Freesolo-Lease": lease["token"]},
        )

    def save(self, lease: Document, step: int, content: bytes = b"weights") -> Document:
        """Store and record a checkpoint; return it."""
        response = self.try_to_save(lease, step, content)
        assert response.status_code == 201, response.text
        return _document(response)

    def try_to_save(self, lease: Document, step: int, content: bytes) -> Response:
        """Store a checkpoint's bytes and return the answer to recording it."""
        folder = Path(self.path / f"{lease['run_id']}-{step}")
        packed = make_artifact(folder, **{"adapter_model.safetensors": content})
        stored = self.worker.put(
            f"/v1/blobs/{packed.archive_digest}", content=packed.path.read_bytes()
        )
        assert stored.is_success, stored.text
        artifact = {
            key: value
            for key, value in asdict(packed).items()
            if key in ("tree_digest", "archive_digest", "size")
        }
        return self.report(
            lease, "checkpoints", {"step": step, "adapter": artifact, "state": artifact}
        )

    def train(self, *, content: bytes = b"weights") -> str:
        """Take a new run to its end and return its id."""
        run_id = self.submit()
        lease = self.claim()
        assert lease["run_id"] == run_id
        self.report(lease, "start", {"total_steps": 2})
        self.save(lease, 1, content + b" half")
        self.save(lease, 2, content)
        assert self.report(lease, "complete", {"step": 2}).status_code == 204
        return run_id

    def deploy(self, adapter: str, *, stage: bool = False) -> Document:
        """Ask for a deployment and return it."""
        response = self.user.post("/v1/deployments", json={"adapter": adapter, "stage": stage})
        assert response.status_code == 201, response.text
        return _document(response)

    def claim_deployment(self) -> Document:
        """Return the deployment that a gateway gets, empty if nothing waits."""
        response = self.gateway.post("/v1/gateway/deployments/claim")
        assert response.is_success, response.text
        return {} if response.status_code == 204 else _document(response)

    def advance(self, task: Document, *states: str, error: object = None) -> Response:
        """Move a claimed deployment through `states`; return the last answer."""
        for state in states:
            response = self.gateway.post(
                f"/v1/gateway/deployments/{task['id']}/advance",
                json={"token": task["token"], "state": state, "error": error},
            )
        return response

    def roll_back(self, model: str) -> Document:
        """Ask for what an alias pointed to before and return its deployment."""
        response = self.user.post(f"/v1/deployments/{model}/rollback")
        assert response.status_code == 201, response.text
        return _document(response)

    def make_live(self, adapter: str, *, stage: bool = False) -> Document:
        """Deploy an adapter all the way; return the deployment."""
        return self.carry_out(self.deploy(adapter, stage=stage))

    def carry_out(self, deployment: Document) -> Document:
        """Do what a gateway does with the only deployment that waits; return it."""
        task = self.claim_deployment()
        assert task["id"] == deployment["id"]
        assert self.advance(task, "smoking", "ready").status_code == 204
        return self.deployment(deployment["id"])

    def deployment(self, deployment_id: str) -> Document:
        """Return a deployment as its owner sees it."""
        return _document(self.user.get(f"/v1/deployments/{deployment_id}"))

    def resolve(self, model: str, key: str | None = None, *, org: str | None = None) -> Response:
        """Ask, as a gateway, what a user's key gets under a model name."""
        key_hash = sha256((key or self.keys.user).encode()).hexdigest()
        return self.gateway.post(
            "/v1/gateway/resolve", json={"key_hash": key_hash, "model": model, "org": org}
        )

    def take_back_lost(self) -> None:
        """Do what the hub does a few times in the length of a lease."""
        take_back_lost(self.resources)


def error_of(response: Response) -> Document:
    """Return the error in an answer's envelope."""
    error: Document = _document(response)["error"]
    return error


def _document(response: Response) -> Document:
    document: Document = response.json()
    return document
