"""The hub's commands for its owner: `create-key`, `set-quota`."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.refs import normalized_name
from freesolo.domain.roles import Role
from freesolo.errors import InvalidInput, OrgNotFound
from freesolo.schemas.accounts import USER_SCOPES, Scope
from hub_server.accounts import service as accounts
from hub_server.accounts.service import KeyPlan, NewKey
from hub_server.db import create_database, create_sessions, insert_if_absent
from hub_server.models import Membership, Org
from hub_server.settings import HubSettings

_SERVICE_SCOPES = frozenset({Scope.WORKER, Scope.GATEWAY})
_NONE = "none"


@click.command("create-key")
@click.option("--org", help="Slug of the org that the key is for; made if there is none.")
@click.option("--user", help="Handle of the person that the key is for; made if there is none.")
@click.option("--name", required=True, help="What the key is called in listings.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.OWNER.value,
    show_default=True,
    help="What the org's own key is; with --user, what the person becomes in the org.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; repeatable. Keys of an org or a person may do everything by default.",
)
@click.pass_obj
def create_key(
    settings: HubSettings,
    *,
    org: str | None,
    user: str | None,
    name: str,
    role: str,
    scopes: Sequence[str],
) -> None:
    """Make a key and print it, for the only time, as JSON.

    With --org it is the org's own. With --user it is a person's and acts in all their orgs; --org
    then makes them a member of one. With neither it is for one of the platform's own processes:
    --scope worker or gateway.
    """
    owned = org is not None or user is not None
    wanted = tuple(Scope(scope) for scope in scopes) or (USER_SCOPES if owned else ())
    _check_scopes(wanted, owned=owned)
    plan = KeyPlan(name, wanted, role=Role(role) if owned else None)
    with _transaction(settings) as session:
        key = _create(session, plan, org=org, user=user)
    click.echo(
        json.dumps(
            {
                "api_key": key.secret,
                "org": org,
                "user": user,
                "name": key.name,
                "scopes": key.scopes,
            }
        )
    )


@click.command("set-quota")
@click.argument("org")
@click.option("--storage-bytes", help="Bytes of archives and wheels; `none` for the hub's limit.")
@click.option("--environments", help="How many environments; `none` for the hub's limit.")
@click.pass_obj
def set_quota(
    settings: HubSettings, org: str, *, storage_bytes: str | None, environments: str | None
) -> None:
    """Say how much the org ORG may keep, and print it as JSON. What it keeps already stays."""
    with _transaction(settings) as session:
        found = session.scalars(
            select(Org).where(Org.name_key == normalized_name(org))
        ).one_or_none()
        if found is None:
            raise OrgNotFound(f"There is no org {org!r}.")
        if storage_bytes is not None:
            found.max_storage_bytes = _limit(storage_bytes)
        if environments is not None:
            found.max_environments = _limit(environments)
        document = {
            "org": found.slug,
            "storage_bytes": found.max_storage_bytes,
            "environments": found.max_environments,
        }
    click.echo(json.dumps(document))


def _create(session: Session, plan: KeyPlan, *, org: str | None, user: str | None) -> NewKey:
    now = datetime.now(UTC)
    owner = accounts.ensure_org(session, org, now=now) if org else None
    if user is None:
        return accounts.create_key(session, owner, plan, now=now)
    person = accounts.ensure_user(session, user, now=now)
    if owner is not None:
        membership = {
            "org_id": owner.id,
            "user_id": person.id,
            "role": plan.role,
            "created_at": now,
        }
        insert_if_absent(session, Membership, [membership])
    # Their memberships alone say what they are in each of their orgs.
    return accounts.create_key(session, None, replace(plan, role=None), now=now, user=person)


def _check_scopes(scopes: Sequence[Scope], *, owned: bool) -> None:
    if not owned and not (scopes and _SERVICE_SCOPES.issuperset(scopes)):
        raise InvalidInput(
            "A key without an org needs `--scope worker` or `--scope gateway`.",
            hint="Pass --org or --user for a key that people use.",
        )
    if owned and not _SERVICE_SCOPES.isdisjoint(scopes):
        raise InvalidInput("The scopes `worker` and `gateway` are for keys without an org.")


def _limit(text: str) -> int | None:
    if text == _NONE:
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise InvalidInput(f"{text!r} is no limit.", hint=f"Write a number, or `{_NONE}`.")
    return int(text)


def _transaction(settings: HubSettings) -> AbstractContextManager[Session]:
    return create_sessions(create_database(settings.database)).begin()
