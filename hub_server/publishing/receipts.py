"""The receipt for a version: what the hub signs, and cannot deny afterwards."""

from dataclasses import asdict

from freesolo.domain.receipts import RECEIPT_TYPE
from hub_server.environments.service import full_name
from hub_server.models import Change, Environment, EnvironmentVersion
from hub_server.models.base import JsonObject
from hub_server.signing import Signer


def receipt_for(
    signer: Signer, environment: Environment, version: EnvironmentVersion, change: Change
) -> JsonObject:
    """Return the signed receipt for a version that `change` of the feed announces."""
    return asdict(
        signer.sign(
            {
                "type": RECEIPT_TYPE,
                "ref": full_name(environment),
                "version": version.version,
                "tree_digest": version.tree_digest,
                "archive_digest": version.archive_digest,
                "size": version.size,
                "published_at": version.published_at.isoformat(),
                "serial": change.serial,
                "feed_hash": change.hash,
                "key_id": signer.key_id,
            }
        )
    )
