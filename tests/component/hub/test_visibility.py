"""Who may know of an environment: every way of asking agrees with one small model of the rules.

There is an environment for each visibility and each thing that can be granted on one, and a key of
each kind, role and pattern. A slice that lets environments be read joins with a line in `READS` or
`LISTINGS`.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import given, settings
from hypothesis import strategies as st

from freesolo.domain.roles import EnvironmentRole, Role, Visibility
from hub_server.settings import HubSettings
from tests.component.hub.evaluations import store
from tests.component.hub.harness import Document, HubUnderTest, SettableClock
from tests.component.hub.people import FULL, make_key_of_org, make_key_of_person, make_person

OWNER, OTHER = "local", "initech"
LEVELS = {EnvironmentRole.READER: 1, EnvironmentRole.WRITER: 2, EnvironmentRole.ADMIN: 3}
IN_OWN_ORG = {None: 0, Role.READER: 1, Role.MEMBER: 2, Role.ADMIN: 3, Role.OWNER: 3}


@dataclass(frozen=True)
class Env:
    """An environment of `local`. What is granted is granted to all of initech, or to everybody."""

    visibility: Visibility
    granted_to: str | None
    granted: EnvironmentRole | None

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.visibility, self.granted_to, self.granted)))


@dataclass(frozen=True)
class Key:
    """A key. `role` is its role in `local`; without one it is a member of initech."""

    kind: str
    role: Role | None = None
    pattern: str | None = None


ENVIRONMENTS = [Env(visibility, None, None) for visibility in Visibility] + [
    Env(visibility, to, role)
    for visibility, to, role in product(Visibility, ("user", "org"), EnvironmentRole)
]
KEYS = [Key("nobody")] + [
    Key(kind, role, pattern)
    for kind, role, pattern in product(
        ("org", "person in one org", "person"), (None, *Role), (None, "local/private*", "*/x")
    )
]


def level(key: Key, env: Env) -> int:
    """Return what a key is in an environment: 0 is nothing, then reader, writer, admin."""
    levels = [1 if env.visibility is Visibility.PUBLIC else 0]
    if key.kind != "nobody" and _is_inside(key, env):
        levels.append(1 if env.visibility is Visibility.INTERNAL else 0)
        levels.append(IN_OWN_ORG[key.role])
        if env.granted is not None and _is_granted_to(key, env):
            levels.append(LEVELS[env.granted])
    return max(levels)


def _is_inside(key: Key, env: Env) -> bool:
    return key.pattern is None or (
        key.pattern == "local/private*" and env.visibility is Visibility.PRIVATE
    )


def _is_granted_to(key: Key, env: Env) -> bool:
    if env.granted_to == "org":
        return key.role is None
    # A person's key to another org, which that org's admins may have made, has no part in it.
    return key.kind == "person" or (key.kind == "person in one org" and key.role is not None)


@dataclass
class World:
    """A hub with all environments and a client for each key.

    `evaluations` are what `local` has of each, by the environment's name.
    """

    hub: HubUnderTest
    client: Callable[[Key], TestClient]
    evaluations: Mapping[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[World]:
    data_dir = tmp_path_factory.mktemp("visibility") / "hub"
    data_dir.mkdir()
    shutil.copy(migrated_sqlite, data_dir / "hub.db")
    with HubUnderTest(HubSettings(data_dir=data_dir), SettableClock()) as hub:
        hub.make_member(OTHER)
        handles = [_handle(role) for role in (None, *Role)]
        for role in (None, *Role):
            make_person(hub, _handle(role), {OWNER: role} if role else {OTHER: Role.MEMBER})
        for env in ENVIRONMENTS:
            _make(hub, env, handles)
        evaluations = {env.name: str(store(hub, name=env.name)["id"]) for env in ENVIRONMENTS}
        yield World(hub, cache(lambda key: _client(hub, key)), evaluations)


def _make(hub: HubUnderTest, env: Env, handles: list[str]) -> None:
    hub.publish(env.name)
    path = f"/v1/envs/{OWNER}/{env.name}"
    hub.user.put(f"{path}/channels/stable", json={"selector": "0.1.0"})
    hub.user.put(f"{path}/visibility", json={"visibility": env.visibility})
    grantees = {None: [], "org": [f"orgs/{OTHER}"], "user": [f"users/{each}" for each in handles]}
    for grantee in grantees[env.granted_to]:
        given = hub.user.put(f"{path}/access/{grantee}", json={"role": env.granted})
        assert given.is_success, given.text


def _handle(role: Role | None) -> str:
    return f"the-{role or 'outsider'}"


def _client(hub: HubUnderTest, key: Key) -> TestClient:
    plan = replace(FULL, patterns=(key.pattern,) if key.pattern else ())
    org = OWNER if key.role else OTHER
    match key.kind:
        case "org":
            return make_key_of_org(hub, org, key.role or Role.MEMBER, plan)
        case "person in one org":
            return make_key_of_person(hub, _handle(key.role), org, plan)
        case "person":
            return make_person(hub, _handle(key.role), {}, plan)
        case _:
            return hub.client(None)


ENV = "/v1/envs/{org}/{name}"
SIMPLE = "/simple-env/{org}/{name}"
VERSION = f"{ENV}/versions/{{version}}"
# Each way to read an environment, with the least that one must be in it.
READS = {
    ENV: 1,
    f"{ENV}/access": 3,
    f"{ENV}/resolve": 1,
    f"{ENV}/info": 1,
    f"{ENV}/index": 1,
    f"{ENV}/uses": 1,
    f"{ENV}/channels": 1,
    f"{ENV}/channels/{{channel}}": 1,
    f"{ENV}/dependents": 1,
    VERSION: 1,
    f"{VERSION}/archive": 1,
    f"{VERSION}/files": 1,
    f"{VERSION}/files/{{path:path}}": 1,
    f"{VERSION}/readme": 1,
    f"{VERSION}/dataset": 1,
    f"{VERSION}/checks": 1,
    f"{VERSION}/receipt": 1,
    f"{SIMPLE}/": 1,
    f"{SIMPLE}/{{distribution}}/": 1,
    f"{SIMPLE}/files/{{filename}}": 1,
}


def _path(route: str, name: str) -> str:
    module = f"fsenv_{OWNER}_{name}".replace("-", "_")
    values = {
        "org": OWNER,
        "name": name,
        "version": "0.1.0",
        "channel": "stable",
        "distribution": f"fsenv-{OWNER}-{name}",
        "filename": f"{module}-0.1.0-py3-none-any.whl",
    }
    return route.replace("{path:path}", "environment.py").format_map(values)


def test_every_way_to_read_an_environment_is_in_the_table(world: World) -> None:
    reading = {
        route.path
        for route in world.hub.app.routes
        if isinstance(route, APIRoute) and "GET" in route.methods and "{name}" in route.path
    }
    assert reading == set(READS)


@given(st.sampled_from(KEYS), st.sampled_from(ENVIRONMENTS), st.sampled_from(sorted(READS)))
@settings(max_examples=250)
def test_an_environment_is_read_by_whom_the_model_lets(
    world: World, key: Key, env: Env, route: str
) -> None:
    status = world.client(key).get(_path(route, env.name)).status_code
    granted = level(key, env)
    if key.kind == "nobody" and READS[route] > 1:
        assert status == 401
    elif granted >= READS[route]:
        assert status == 200
    else:
        assert status == (403 if granted else 404)


@given(st.sampled_from(KEYS), st.sampled_from(ENVIRONMENTS))
@settings(max_examples=100)
def test_an_environment_is_written_to_by_whom_the_model_lets(
    world: World, key: Key, env: Env
) -> None:
    path = f"/v1/envs/{OWNER}/{env.name}/versions/9.9/yank"
    response = world.client(key).put(path, json={"reason": "never was"})
    code = response.json()["error"]["code"]
    if key.kind == "nobody":
        assert code == "unauthorized"
    else:
        codes = ("environment_not_found", "forbidden", "version_not_found", "version_not_found")
        assert code == codes[level(key, env)]


@given(st.sampled_from(KEYS), st.sampled_from(ENVIRONMENTS), st.sampled_from(sorted(READS)))
@settings(max_examples=100)
def test_what_one_may_not_know_of_looks_like_nothing(
    world: World, key: Key, env: Env, route: str
) -> None:
    if level(key, env) or (key.kind == "nobody" and READS[route] > 1):
        return
    nothing = "q" * len(env.name)
    client = world.client(key)
    hidden, unknown = client.get(_path(route, env.name)), client.get(_path(route, nothing))
    suggested = re.search(f"Did you mean `{OWNER}/(.*?)`", hidden.text)
    if suggested is None:
        assert hidden.text.replace(env.name, nothing) == unknown.text
    else:
        assert level(key, _named(suggested[1]))
    assert _kinds(hidden) == _kinds(unknown)


def _named(name: str) -> Env:
    return next(env for env in ENVIRONMENTS if env.name == name)


def _kinds(response: Response) -> tuple[int, str, set[str]]:
    return response.status_code, response.json()["error"]["code"], set(response.headers)


def _listed(client: TestClient) -> set[str]:
    return _pages(client, "/v1/envs", "environments", lambda item: str(item["ref"]))


def _found(client: TestClient) -> set[str]:
    return _pages(client, "/v1/search", "results", lambda item: str(item["ref"]))


def _told(client: TestClient) -> set[str]:
    entries = client.get("/v1/changes", params={"since": 0, "limit": 100}).json()["changes"]
    since = entries[-1]["serial"]
    while page := client.get("/v1/changes", params={"since": since, "limit": 100}).json()[
        "changes"
    ]:
        entries += page
        since = page[-1]["serial"]
    return {str(item["entry"]["ref"]) for item in entries if item["entry"]}


def _pages(client: TestClient, path: str, plural: str, name: Callable[[Document], str]) -> set[str]:
    found: set[str] = set()
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": 100, **cursor}).json()
        found |= {name(item) for item in page[plural]}
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


Listing = Callable[[TestClient], set[str]]
# Each listing, and whether it shows other orgs than the key's own.
LISTINGS: dict[Listing, bool] = {_listed: False, _found: True, _told: True}


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.__name__)
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_listing_shows_just_what_the_model_lets_read(
    world: World, key: Key, listing: Listing
) -> None:
    everywhere = LISTINGS[listing] or key.kind == "nobody" or key.role is not None
    readable = {f"{OWNER}/{env.name}" for env in ENVIRONMENTS if level(key, env) and everywhere}
    assert listing(world.client(key)) == readable


@pytest.mark.parametrize("key", KEYS[1:], ids=str)
def test_results_are_seen_in_their_org_of_what_a_key_may_read_and_is_for(
    world: World, key: Key
) -> None:
    client = world.client(key)
    expected = {
        world.evaluations[env.name]
        for env in ENVIRONMENTS
        if key.role is not None and _is_inside(key, env) and level(key, env)
    }
    assert _pages(client, "/v1/evals", "evaluations", lambda item: str(item["id"])) == expected
    for found in world.evaluations.values():
        status = client.get(f"/v1/evals/{found}/cases").status_code
        assert status == (200 if found in expected else 404)
