"""The same run again: from what the first one was bound to, not from what its config means today."""

from sqlalchemy.orm import Session

from freesolo.domain.catalog import BaseModelEntry, Catalog, find_model
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import check_train_spec, parse_train_spec
from freesolo.errors import Conflict, VersionNotFound
from freesolo.schemas import runs as wire
from freesolo.schemas.environments import ResolvedVersion
from freesolo.schemas.leases import PinnedTeacher
from hub_server.accounts.service import Member, find_project
from hub_server.environments import service as environments
from hub_server.models import EnvironmentVersion, Run
from hub_server.runs.service import Pins, Plan, checkpoints, given_secrets


def plan(
    session: Session,
    member: Member,
    original: Run,
    body: wire.Reproduction,
    *,
    catalog: Catalog,
) -> Plan:
    """Check that all that made a run is still here, and return the plan of another like it.

    Raise `Conflict` for a run that left nothing to compare with, or for a base model of which
    another revision is here by now, and `NotFound` or `VersionTombstoned` for what is gone.
    """
    if not checkpoints(session, original):
        raise Conflict(
            f"{original.id} has saved nothing that another run could be compared with.",
            hint="`freesolo train` starts a run from its config.",
        )
    spec = parse_train_spec(original.spec)
    model = _same_model(catalog, original.model_id, original.model_revision)
    check_train_spec(spec, model)
    version = _still_there(session, member, original.environment)
    for foundation in original.environment.builds_on:
        _still_there(session, member, foundation)
    project = find_project(session, member, original.project_id)
    handed = {name: value.get_secret_value() for name, value in body.secrets.items()}
    return Plan(
        spec=spec,
        model=model,
        pins=Pins(warm_start=original.warm_start, teacher=_same_teacher(original, catalog)),
        project=project,
        environment=original.environment,
        version=version,
        secrets=given_secrets(session, project, version, spec, handed),
        reproduces=original.id,
    )


def _still_there(session: Session, member: Member, pinned: ResolvedVersion) -> EnvironmentVersion:
    """Return a pinned version, which may be yanked, but neither deleted nor hidden from the member."""
    ref = EnvRef.parse(f"{pinned.ref}@{pinned.version}")
    version = environments.resolve(session, member, ref)[1]
    if version.tree_digest != pinned.tree_digest:
        raise VersionNotFound(f"{ref} is no longer {pinned.tree_digest}.")
    return version


def _same_teacher(original: Run, catalog: Catalog) -> PinnedTeacher | None:
    if original.teacher_model_id is None or original.teacher_model_revision is None:
        return None
    model = _same_model(catalog, original.teacher_model_id, original.teacher_model_revision)
    return PinnedTeacher(model=model, adapter=original.teacher_adapter)


def _same_model(catalog: Catalog, model_id: str, revision: str) -> BaseModelEntry:
    model = find_model(catalog, model_id)
    if model.revision != revision:
        raise Conflict(
            f"The run was made with {model_id} {revision}; the catalog now has {model.revision}.",
            hint="Bring that revision back into the catalog.",
        )
    return model
