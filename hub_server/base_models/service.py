"""The catalog of one org: the base models that every org has, and those that it added itself.

Where both have an id, that of all is meant: what an operator offers cannot be hidden by an org.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_
from sqlalchemy.orm import QueryableAttribute, Session

from freesolo.domain.catalog import (
    BaseModelEntry,
    Catalog,
    HubSource,
    LocalSource,
    find_model,
    with_models,
)
from freesolo.domain.lifecycle import DEPLOYMENT_CURRENT, RUN_ENDED
from freesolo.domain.prices import Prices, prices_of
from freesolo.domain.roles import Role
from freesolo.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    ModelInUse,
    ModelNotFound,
)
from freesolo.schemas import base_models as wire
from freesolo.schemas.audit import Action
from hub_server.accounts.service import Member
from hub_server.audit import service as audit
from hub_server.models import AddedModel, Deployment, Org, Run
from hub_server.settings import HubSettings

_MAX_ADDED = 100


def catalog_of(session: Session, org_id: UUID, shared: Catalog) -> Catalog:
    """Return the base models that an org's runs can have."""
    added = session.scalars(select(AddedModel.entry).where(AddedModel.org_id == org_id)).all()
    return with_models({entry.id: entry for entry in added}, shared.values())


def model_of(
    session: Session, org_id: UUID, model_id: str, shared: Catalog
) -> BaseModelEntry | None:
    """Return one entry of an org's catalog, without reading the others."""
    added = select(AddedModel.entry).where(
        AddedModel.org_id == org_id, AddedModel.model_id == model_id
    )
    return shared.get(model_id) or session.scalars(added).one_or_none()


def hold(
    session: Session, org_id: UUID, models: Iterable[BaseModelEntry], *, shared: Catalog
) -> None:
    """Let none of these models be removed before this transaction ends.

    Raise `ModelNotFound` for one that was removed since it was found.
    """
    wanted = {model.id: model.revision for model in models if model.id not in shared}
    added = (
        select(AddedModel.model_id, AddedModel.revision)
        .where(AddedModel.org_id == org_id, AddedModel.model_id.in_(wanted))
        .order_by(AddedModel.model_id)
        .with_for_update(read=True)
    )
    held = {row.model_id: row.revision for row in session.execute(added)}
    for model_id, revision in wanted.items():
        if held.get(model_id) != revision:
            raise ModelNotFound(
                f"{model_id} {revision} was just removed from the catalog.",
                hint="`freesolo models` lists what is there.",
            )


def in_catalog(
    model_id: QueryableAttribute[Any], revision: QueryableAttribute[Any], *, shared: Catalog
) -> ColumnElement[bool]:
    """Select the runs of which a model, at its revision, is in the catalog of their org."""
    added = select(AddedModel.model_id).where(
        AddedModel.org_id == Run.org_id,
        AddedModel.model_id == model_id,
        AddedModel.revision == revision,
    )
    return or_(
        tuple_(model_id, revision).in_([(model.id, model.revision) for model in shared.values()]),
        and_(model_id.not_in(list(shared)), added.exists()),
    )


def list_models(
    session: Session, member: Member, *, shared: Catalog, prices: Prices | None
) -> list[wire.Model]:
    """Return the org's catalog as it goes over the wire, by id; `prices` as in `tokens_cost`."""
    catalog = catalog_of(session, member.org_id, shared)
    return [
        _listed(entry, shared=shared, prices=prices)
        for entry in sorted(catalog.values(), key=lambda entry: entry.id)
    ]


def tokens_cost(entry: BaseModelEntry, *, shared: Catalog, prices: Prices | None) -> Prices:
    """Return what a model's tokens cost: `prices` if an org has added it, unless the orgs say it.

    Where tokens are paid for, who pays must not name the price.
    """
    return prices_of(entry) if prices is None or entry.id in shared else prices


def add(
    session: Session,
    by: Member,
    entry: BaseModelEntry,
    *,
    shared: Catalog,
    settings: HubSettings,
    now: datetime,
) -> None:
    """Put a base model into the org's catalog. The same again changes nothing."""
    _require_admin(by)
    _check_source(entry, paths=settings.model_paths)
    _check_prices(entry, settings.prices_of_added)
    _lock(session, by)
    known = model_of(session, by.org_id, entry.id, shared)
    if known == entry and entry.id not in shared:
        return
    if known is not None:
        raise Conflict(
            f"The catalog has {entry.id} already, at {known.revision}.",
            hint="Give this one another id, with `--id`."
            if entry.id in shared
            else f"`freesolo models rm {entry.id}` first removes that, or give this one another `--id`.",
        )
    count = select(func.count()).where(AddedModel.org_id == by.org_id)
    if session.execute(count).scalar_one() >= _MAX_ADDED:
        raise LimitExceeded(
            f"{by.org} has added {_MAX_ADDED} base models, which is as many as an org may have.",
            hint="`freesolo models rm` removes one.",
        )
    session.add(
        AddedModel(
            org_id=by.org_id,
            model_id=entry.id,
            revision=entry.revision,
            entry=entry,
            created_at=now,
        )
    )
    audit.record(
        session,
        by,
        Action.MODEL_ADDED,
        target=entry.id,
        now=now,
        revision=entry.revision,
        source=entry.source.model_dump(mode="json"),
    )


def remove(session: Session, by: Member, model_id: str, *, shared: Catalog, now: datetime) -> None:
    """Take a base model out of the org's catalog; raise `ModelInUse` while something needs it."""
    _require_admin(by)
    row = session.get(AddedModel, (by.org_id, model_id), with_for_update=True)
    if row is None:
        # Raises for what is in no catalog at all.
        find_model(shared, model_id)
        raise Forbidden(
            f"{model_id} is in the catalog of every org, so no org can remove it.",
            hint="It is built in, or in the file that FREESOLO_SERVER_CATALOG names.",
        )
    _require_unused(session, row)
    session.delete(row)
    audit.record(session, by, Action.MODEL_REMOVED, target=model_id, now=now, revision=row.revision)


def model_view(entry: BaseModelEntry, *, added: bool) -> wire.Model:
    """Return an entry as it goes over the wire."""
    return wire.Model(**entry.model_dump(), added=added)


def _require_admin(by: Member) -> None:
    by.require_role(Role.ADMIN)
    by.require_unconfined("base models are for all runs of an org")


def _lock(session: Session, by: Member) -> None:
    """Wait for whoever else adds to the org's catalog, so that an id is added once and all count."""
    # The weaker lock lets others refer to the org meanwhile.
    session.execute(select(Org.id).where(Org.id == by.org_id).with_for_update(key_share=True))


def _check_source(entry: BaseModelEntry, *, paths: bool) -> None:
    if "/" not in entry.id:
        raise InvalidInput(
            f"{entry.id!r} is no id for a base model: it has two parts.",
            hint="Such as `acme/small`.",
        )
    match entry.source:
        case HubSource():
            return
        case LocalSource() if not paths:
            raise Forbidden(
                "This hub takes no base models that are folders on its machines.",
                hint="Whoever runs it can allow it, with FREESOLO_SERVER_MODEL_PATHS, or put the model "
                "into the file that FREESOLO_SERVER_CATALOG names.",
            )
        case LocalSource(path=path) if path.startswith("/"):
            return
        case LocalSource(path=path):
            raise InvalidInput(
                f"{path!r} is no absolute path.", hint="It must mean one place on every machine."
            )
    raise InvalidInput("An org adds models of the Hugging Face hub, or folders.")


def _check_prices(entry: BaseModelEntry, prices: Prices | None) -> None:
    if prices is not None and (entry.price_input or entry.price_cached or entry.price_output):
        raise Forbidden(
            "On this hub tokens are paid for, and who operates it names the prices of base models that "
            "orgs add.",
            hint="Leave --price-input and --price-output out; `freesolo models` shows the prices.",
        )


def _listed(entry: BaseModelEntry, *, shared: Catalog, prices: Prices | None) -> wire.Model:
    cost = tokens_cost(entry, shared=shared, prices=prices)
    shown = entry.model_copy(
        update={
            "price_input": cost.prompt,
            "price_cached": cost.cached,
            "price_output": cost.completion,
        }
    )
    return model_view(shown, added=entry.id not in shared)


def _require_unused(session: Session, row: AddedModel) -> None:
    waiting = select(func.count()).where(
        Run.org_id == row.org_id,
        or_(
            and_(Run.model_id == row.model_id, Run.model_revision == row.revision),
            and_(Run.teacher_model_id == row.model_id, Run.teacher_model_revision == row.revision),
        ),
        Run.state.not_in(RUN_ENDED),
    )
    if runs := session.execute(waiting).scalar_one():
        raise ModelInUse(
            f"{runs} runs with {row.model_id} have not ended.",
            hint="Wait for them, or `freesolo runs cancel` them.",
        )
    served = select(func.count()).where(
        Deployment.org_id == row.org_id,
        Deployment.base_model == row.model_id,
        Deployment.base_revision == row.revision,
        Deployment.state.in_(DEPLOYMENT_CURRENT),
    )
    if deployments := session.execute(served).scalar_one():
        raise ModelInUse(
            f"{deployments} adapters on {row.model_id} are served.",
            hint="`freesolo deployments` lists them; `freesolo undeploy` ends one.",
        )
