"""People and their keys, made where no key is needed: in the hub's own database."""

from collections.abc import Mapping
from dataclasses import replace

from fastapi.testclient import TestClient

from freesolo.domain.roles import Role
from freesolo.schemas.accounts import USER_SCOPES
from hub_server.accounts import service as accounts
from hub_server.accounts.service import KeyPlan
from tests.component.hub.harness import HubUnderTest
from tests.hubs import make_person_key

FULL = KeyPlan("laptop", USER_SCOPES)


def make_person(
    hub: HubUnderTest, handle: str, orgs: Mapping[str, Role], plan: KeyPlan = FULL
) -> TestClient:
    """Make a person with a role in each of some orgs; return a client with a key to all of them."""
    return hub.client(make_person_key(hub.app, handle, orgs, plan))


def make_key_of_person(
    hub: HubUnderTest, handle: str, org: str, plan: KeyPlan = FULL
) -> TestClient:
    """Return a client with a person's key to one org."""
    now = hub.clock()
    with hub.resources.sessions.begin() as session:
        user = accounts.find_user(session, handle)
        bound_to = accounts.ensure_org(session, org, now=now)
        return hub.client(accounts.create_key(session, bound_to, plan, now=now, user=user).secret)


def make_key_of_org(hub: HubUnderTest, org: str, role: Role, plan: KeyPlan = FULL) -> TestClient:
    """Return a client with a key of an org itself."""
    now = hub.clock()
    with hub.resources.sessions.begin() as session:
        owner = accounts.ensure_org(session, org, now=now)
        key = accounts.create_key(session, owner, replace(plan, role=role), now=now)
        return hub.client(key.secret)
