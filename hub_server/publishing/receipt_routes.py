"""Receipts, and the public keys to verify them with."""

from fastapi import APIRouter

from freesolo.domain.receipts import key_id
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.errors import NotFound
from freesolo.schemas import receipts as wire
from hub_server.dependencies import DbReader, FromHub, Visitor
from hub_server.environments import service as environments
from hub_server.signing import public_pem

router = APIRouter(prefix="/v1", tags=["publishing"])


@router.get("/signing-keys")
def list_signing_keys(visitor: Visitor, resources: FromHub) -> wire.SigningKeyList:
    """List the public keys that verify the hub's receipts, the one in use first."""
    return wire.SigningKeyList(
        keys=[
            wire.SigningKey(key_id=key_id(key), public_key=public_pem(key))
            for key in resources.signer.public_keys
        ]
    )


@router.get("/envs/{org}/{name}/versions/{version}/receipt")
def show_receipt(
    org: str, name: str, version: str, visitor: Visitor, session: DbReader
) -> wire.Receipt:
    """Show what the hub signed when it published a version."""
    stored = environments.canonical_version(version)
    ref = EnvRef(org, name, Selector(SelectorKind.EXACT, stored))
    environment, found = environments.resolve(session, visitor, ref)
    if found.receipt is None:
        raise NotFound(
            f"{environments.full_name(environment)} {found.version} was published without a receipt."
        )
    return wire.Receipt.model_validate(found.receipt)
