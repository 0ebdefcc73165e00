"""Leases as a job gets them."""

from pathlib import Path

from freesolo.domain.train_spec import parse_train_spec
from freesolo.schemas.environments import PinnedEnvironment
from freesolo.schemas.leases import Lease
from tests.tiny_model import MODEL_ID, catalog_entry

DIGEST = f"sha256:{'ab' * 32}"


def make_lease(**changes: object) -> Lease:
    """Return the lease of a run on the tiny model, with `changes`."""
    lease = Lease(
        run_id="run-ab12cd34ef",
        attempt=1,
        token="secret-token",
        lease_seconds=30,
        spec=parse_train_spec({"model": MODEL_ID, "environment": {"id": "local/agree"}}),
        environment=PinnedEnvironment(
            ref="local/agree", version="0.1.0", tree_digest=DIGEST, archive_digest=DIGEST, size=1
        ),
        model=catalog_entry(Path("/models/tiny")),
    )
    return lease.model_copy(update=changes)
