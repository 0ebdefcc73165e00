"""Secrets: stored for a project, or handed in with one run; encrypted, and never shown.

A project's secret is read anew for each attempt at a run, so that a change or a removal holds from
then on. What was handed in with a run is forgotten when the run ends.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from freesolo.domain.secrets import check_secret_value, refuse_job_secrets, refuse_missing
from freesolo.errors import InvalidInput, InvalidSecret, LimitExceeded, SecretNotFound
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member, find_project
from hub_server.audit import service as audit
from hub_server.encryption import Vault
from hub_server.models import Project, ProjectSecret, Run, RunSecret

_MAX_SECRETS = 100
_WAYS = (
    "`freesolo secrets set NAME` stores one for the project; `freesolo train` also takes it from "
    "the shell, from `.env.local` and from `.env`."
)


@dataclass(frozen=True)
class Slot:
    """A name in a project; None is the org's default project."""

    project_id: UUID | None
    name: str


def list_secrets(session: Session, by: Member, project_id: UUID | None) -> Sequence[ProjectSecret]:
    """Return what a project has stored, by name."""
    project = _project(session, by, project_id)
    return session.scalars(
        select(ProjectSecret)
        .where(ProjectSecret.project_id == project.id)
        .order_by(ProjectSecret.name)
    ).all()


def store(
    session: Session, by: Member, slot: Slot, value: str, *, vault: Vault, now: datetime
) -> ProjectSecret:
    """Keep a secret for a project, in place of what it had under this name.

    The same value again is a change like any other: nobody finds out that way what is stored.
    """
    ciphertext = vault.encrypt(check_secret_value(value))
    project = _project(session, by, slot.project_id, lock=True)
    secret = session.get(ProjectSecret, (project.id, slot.name))
    if secret is None:
        _require_room(session, project)
        secret = ProjectSecret(project_id=project.id, name=slot.name)
        session.add(secret)
    secret.ciphertext = ciphertext
    secret.updated_by = by.actor
    secret.updated_at = now
    audit.record(session, by, Action.SECRET_STORED, target=slot.name, now=now, project=project.slug)
    return secret


def remove(session: Session, by: Member, slot: Slot, *, now: datetime) -> None:
    """Forget a project's secret. Attempts at runs that begin from now on lack it."""
    project = _project(session, by, slot.project_id, lock=True)
    secret = session.get(ProjectSecret, (project.id, slot.name))
    if secret is None:
        raise SecretNotFound(
            f"The project {project.slug!r} has no secret {slot.name!r}.",
            hint="`freesolo secrets list` shows their names.",
        )
    session.delete(secret)
    audit.record(
        session, by, Action.SECRET_REMOVED, target=slot.name, now=now, project=project.slug
    )


def check_given(
    session: Session,
    project: Project,
    declared: Collection[str],
    handed: Mapping[str, str],
    *,
    optional: Collection[str] = (),
) -> tuple[str, ...]:
    """Check that each declared secret is handed in or stored, and that no other is handed in.

    `optional` are those that the training process uses if they are given; return those that are.
    """
    refuse_job_secrets(declared)
    if undeclared := sorted(handed.keys() - {*declared, *optional}):
        raise InvalidSecret(
            f"The environment declares no secret {undeclared[0]!r}, so it gets none.",
            hint="Declare it: `secrets` in environment.toml, or in the config's [environment].",
        )
    for value in handed.values():
        check_secret_value(value)
    stored = session.scalars(
        select(ProjectSecret.name).where(ProjectSecret.project_id == project.id)
    ).all()
    given = {*handed, *stored}
    refuse_missing(set(declared) - given, hint=_WAYS)
    return tuple(name for name in optional if name in given)


def keep_for_run(
    session: Session,
    run: Run,
    declared: Collection[str],
    handed: Mapping[str, str],
    *,
    vault: Vault,
) -> None:
    """Write down which secrets a run gets, with those that were handed in."""
    session.add_all(
        RunSecret(
            run_id=run.id,
            name=name,
            ciphertext=vault.encrypt(handed[name]) if name in handed else None,
        )
        for name in declared
    )


def of_run(session: Session, run: Run, vault: Vault) -> dict[str, str]:
    """Return the secrets that an attempt at a run gets; raise `SecretMissing` if one is gone."""
    kept = session.scalars(select(RunSecret).where(RunSecret.run_id == run.id)).all()
    stored = session.scalars(
        select(ProjectSecret).where(ProjectSecret.project_id == run.project_id)
    ).all()
    known = {secret.name: secret.ciphertext for secret in stored}
    wanted = {secret.name: secret.ciphertext or known.get(secret.name) for secret in kept}
    refuse_missing([name for name, found in wanted.items() if found is None], hint=_WAYS)
    return {name: _decrypt(vault, name, found) for name, found in wanted.items() if found}


def forget(session: Session, run: Run) -> None:
    """Delete what was handed in with a run."""
    session.execute(delete(RunSecret).where(RunSecret.run_id == run.id))


def _project(
    session: Session, by: Member, project_id: UUID | None, *, lock: bool = False
) -> Project:
    by.require_unconfined("the secrets of a project are for all of its environments")
    project = find_project(session, by, project_id)
    if lock:
        # One writer at a time: the same name may be new to two of them.
        session.refresh(project, with_for_update={"key_share": True})
    return project


def _require_room(session: Session, project: Project) -> None:
    count = session.scalar(
        select(func.count())
        .select_from(ProjectSecret)
        .where(ProjectSecret.project_id == project.id)
    )
    if count is not None and count >= _MAX_SECRETS:
        raise LimitExceeded(
            f"The project {project.slug!r} has {count} secrets, as many as a project may have.",
            hint="`freesolo secrets rm` removes one.",
        )


def _decrypt(vault: Vault, name: str, ciphertext: bytes) -> str:
    try:
        return vault.decrypt(ciphertext)
    except InvalidInput as error:
        raise InvalidInput(
            f"The secret {name!r} cannot be read: {error.message}",
            hint=f"{error.hint} Or set it anew: `freesolo secrets set {name}`.",
        ) from None
