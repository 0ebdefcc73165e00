"""A real hub in this process, for tests: its keys, and a server on loopback."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from freesolo.domain.prices import from_dollars
from freesolo.domain.roles import Role
from freesolo.schemas.accounts import USER_SCOPES, Scope
from hub_server.accounts import service as accounts
from hub_server.app import create_app
from hub_server.billing import service as billing
from hub_server.dependencies import Resources
from hub_server.models import Membership
from hub_server.settings import HubSettings

ORG = "local"


@dataclass(frozen=True)
class Keys:
    """One key of each kind."""

    user: str
    worker: str
    gateway: str


@dataclass(frozen=True)
class LiveHub:
    """A hub that listens on loopback."""

    url: str
    user_key: str
    worker_key: str
    gateway_key: str
    data_dir: Path
    app: FastAPI


def resources_of(app: FastAPI) -> Resources:
    """Return what an application of the hub works with."""
    resources: Resources = app.state.resources
    return resources


def make_keys(app: FastAPI, *, org: str = ORG) -> Keys:
    """Make one key of each kind in the application's database."""
    resources = resources_of(app)
    now = resources.clock()
    with resources.sessions.begin() as session:
        owner = accounts.ensure_org(session, org, now=now)
        plans = (
            (owner, accounts.KeyPlan("tests", USER_SCOPES, role=Role.OWNER)),
            (None, accounts.KeyPlan("worker", (Scope.WORKER,))),
            (None, accounts.KeyPlan("gateway", (Scope.GATEWAY,))),
        )
        return Keys(*(accounts.create_key(session, of, plan, now=now).secret for of, plan in plans))


def make_person_key(
    app: FastAPI, handle: str, orgs: Mapping[str, Role], plan: accounts.KeyPlan
) -> str:
    """Make a person with a role in each of some orgs; return a key of theirs to all of them."""
    resources = resources_of(app)
    now = resources.clock()
    with resources.sessions.begin() as session:
        user = accounts.ensure_user(session, handle, now=now)
        for slug, role in orgs.items():
            org = accounts.ensure_org(session, slug, now=now)
            session.merge(Membership(org_id=org.id, user_id=user.id, role=role, created_at=now))
        return accounts.create_key(session, None, plan, now=now, user=user).secret


def add_credit(hub: LiveHub, amount: str, *, org: str = ORG) -> None:
    """Give an org dollars."""
    resources = resources_of(hub.app)
    with resources.sessions.begin() as session:
        billing.credit(session, org, from_dollars(amount), note="tests", now=resources.clock())


@contextmanager
def serving(app: FastAPI, *, port: int = 0) -> Iterator[str]:
    """Serve an application from a thread on a loopback port, by default a free one; yield its address."""
    # As engines do, so that no connection is closed just when it is used again.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws="none", timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port)) as listening:
        # Connections wait in the socket's queue until the server accepts: no need to poll.
        thread = threading.Thread(target=server.run, args=([listening],), name="hub")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def live_hub(settings: HubSettings) -> Iterator[LiveHub]:
    """Run a hub on a migrated database until the block ends."""
    app = create_app(settings)
    keys = make_keys(app)
    with serving(app) as url:
        yield LiveHub(
            url=url,
            user_key=keys.user,
            worker_key=keys.worker,
            gateway_key=keys.gateway,
            data_dir=settings.data_dir,
            app=app,
        )
