"""The environment variables of a training process."""

from freesolo.domain.train_spec import parse_train_spec
from tests.tiny_model import MODEL_ID
from tests.unit.training.leases import make_lease
from training_backend.executors.environment import job_environment

INHERITED = {"PATH": "/bin", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}


def environment_of(**worker_env: object) -> dict[str, str]:
    spec = parse_train_spec(
        {"model": MODEL_ID, "environment": {"id": "local/agree"}, "worker_env": worker_env}
    )
    return job_environment(make_lease(spec=spec), INHERITED, threads=4)


def test_a_training_process_gets_the_variables_of_its_config() -> None:
    found = environment_of(NCCL_DEBUG="INFO", OMP_WAIT_POLICY="active", OMP_NUM_THREADS=2)
    assert (found["NCCL_DEBUG"], found["OMP_WAIT_POLICY"]) == ("INFO", "active")
    assert found["OMP_NUM_THREADS"] == "2"
    assert (found["HF_HUB_OFFLINE"], found["PATH"]) == ("1", "/bin")
    assert found["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_no_config_takes_more_threads_than_the_worker_gives() -> None:
    assert environment_of()["OMP_NUM_THREADS"] == "4"
    found = environment_of(OMP_NUM_THREADS=64, MKL_NUM_THREADS=64)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("4", "4")
