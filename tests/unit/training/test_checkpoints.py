import json
from pathlib import Path

from freesolo.domain.train_spec import WandbSpec, parse_train_spec
from freesolo.schemas.environments import PinnedEnvironment
from freesolo.schemas.leases import Lease
from tests.tiny_model import MODEL_ID, REVISION, catalog_entry
from training_backend.checkpoints import canonical_config, provenance

DIGEST = f"sha256:{'ab' * 32}"


def make_lease(**changes: object) -> Lease:
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


def test_an_adapter_config_does_not_tell_where_and_in_which_order_peft_saw_things() -> None:
    config = {"r": 4, "base_model_name_or_path": "/models/tiny"}
    one = json.dumps(config | {"target_modules": ["q_proj", "v_proj"]})
    other = json.dumps({"target_modules": ["v_proj", "q_proj"]} | config)

    written = canonical_config(one, base_model=MODEL_ID)

    assert written == canonical_config(other, base_model=MODEL_ID)
    assert json.loads(written)["base_model_name_or_path"] == MODEL_ID


def test_provenance_names_everything_an_adapter_was_made_from() -> None:
    made_by = json.loads(provenance(make_lease()))

    assert made_by["environment"] == {
        "ref": "local/agree",
        "version": "0.1.0",
        "tree_digest": DIGEST,
    }
    assert made_by["base_model"] == {"id": MODEL_ID, "revision": REVISION}
    assert made_by["spec"]["train"]["lora_rank"] == 32
    assert made_by["seed"] == 42
    assert set(made_by["packages"]) == {"freesolo", "peft", "torch", "transformers", "trl"}


def test_provenance_is_the_same_for_another_run_of_the_same_work() -> None:
    again = make_lease(run_id="run-zzzzzzzzzz", attempt=3, token="another-token")

    assert provenance(make_lease()) == provenance(again)


def test_provenance_is_the_same_wherever_the_metrics_went() -> None:
    lease = make_lease()
    spec = lease.spec.model_copy(update={"wandb": WandbSpec(project="math")})

    assert provenance(lease) == provenance(make_lease(spec=spec))
