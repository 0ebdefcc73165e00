from pathlib import Path

import pytest
from pydantic import SecretStr

from freesolo.domain.train_spec import parse_train_spec
from tests.tiny_model import MODEL_ID
from tests.unit.training.leases import make_lease
from training_backend.settings import TrainingSettings
from training_backend.worker import cause_of_death, job_environment


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (-9, "was killed (SIGKILL), as the system does when memory runs out"),
        (-11, "was ended by SIGSEGV"),
        (1, "ended with exit code 1 without reporting an outcome"),
    ],
)
def test_an_exit_code_is_put_into_words(exit_code: int, words: str) -> None:
    assert cause_of_death(exit_code) == words


def environment_of(**worker_env: object) -> dict[str, str]:
    spec = parse_train_spec(
        {"model": MODEL_ID, "environment": {"id": "local/agree"}, "worker_env": worker_env}
    )
    settings = TrainingSettings(api_key=SecretStr("key"), threads=4, work_dir=Path("/nowhere"))
    return job_environment(make_lease(spec=spec), settings)


def test_a_training_process_gets_the_variables_of_its_config() -> None:
    found = environment_of(NCCL_DEBUG="INFO", OMP_WAIT_POLICY="active", OMP_NUM_THREADS=2)
    assert (found["NCCL_DEBUG"], found["OMP_WAIT_POLICY"]) == ("INFO", "active")
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["HF_HUB_OFFLINE"] == "1"


def test_no_config_takes_more_threads_than_the_worker_gives() -> None:
    assert environment_of()["OMP_NUM_THREADS"] == "4"
    found = environment_of(OMP_NUM_THREADS=64, MKL_NUM_THREADS=64)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("4", "4")
