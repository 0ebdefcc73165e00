"""The catalog of base models: list it, add to it, remove from it."""

from fastapi import APIRouter, status

from freesolo.domain.catalog import BaseModelEntry
from freesolo.schemas.base_models import Model, ModelList
from hub_server.base_models import service
from hub_server.dependencies import (
    AnyMember,
    Catalog,
    DbReader,
    DbSession,
    FromHub,
    Now,
    OrgAdmin,
    Settings,
)

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def list_models(
    member: AnyMember, session: DbReader, catalog: Catalog, settings: Settings
) -> ModelList:
    """List the base models that the org can train and serve."""
    models = service.list_models(session, member, shared=catalog, prices=settings.prices_of_added)
    return ModelList(models=models)


@router.post("", status_code=status.HTTP_201_CREATED)
def add_model(
    entry: BaseModelEntry, member: OrgAdmin, session: DbSession, resources: FromHub, now: Now
) -> Model:
    """Add a base model to the org's catalog, as `freesolo models add` has found it to be."""
    service.add(
        session,
        member,
        entry,
        shared=resources.catalog,
        settings=resources.settings,
        now=now,
    )
    return service.model_view(entry, added=True)


@router.delete("/{model_id:path}", status_code=status.HTTP_204_NO_CONTENT)
def remove_model(
    model_id: str, member: OrgAdmin, session: DbSession, catalog: Catalog, now: Now
) -> None:
    """Take a base model that the org has added out of its catalog."""
    service.remove(session, member, model_id, shared=catalog, now=now)
