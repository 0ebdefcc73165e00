import pytest

from freesolo.domain.train_spec import parse_train_spec
from freesolo.domain.worker_env import WORKER_VARIABLES
from freesolo.errors import InvalidTrainSpec


def variables(**given: object) -> dict[str, str]:
    document = {"model": "m", "environment": {"id": "local/math"}, "worker_env": given}
    return parse_train_spec(document).worker_env


def test_listed_variables_are_taken_and_numbers_written_out() -> None:
    given = {
        "OMP_NUM_THREADS": 2,
        "NCCL_DEBUG": "INFO",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:128",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    assert variables(**given) == {**given, "OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize(
    "name",
    [
        *("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "HF_HOME", "HF_TOKEN"),
        *("FREESOLO_TRAIN_API_KEY", "FREESOLO_TRAIN_HUB_URL", "NCCL_DEBUG_FILE", "HTTPS_PROXY"),
        *("TORCHINDUCTOR_CACHE_DIR", "omp_num_threads", "OMP_NUM_THREADS ", ""),
    ],
)
def test_any_other_variable_is_refused_with_the_list_and_without_its_value(name: str) -> None:
    with pytest.raises(InvalidTrainSpec, match="worker_env") as refusal:
        variables(**{name: "sk-123"})
    assert all(listed in refusal.value.message for listed in WORKER_VARIABLES)
    assert "sk-123" not in str(refusal.value.to_wire())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OMP_NUM_THREADS", "0"),
        ("OMP_NUM_THREADS", "2\n"),
        ("CUDA_LAUNCH_BLOCKING", True),
        ("NCCL_DEBUG", "INFO;rm"),
        ("PYTORCH_ALLOC_CONF", "a" * 201),
        ("PYTORCH_ALLOC_CONF", "/etc/passwd"),
        ("NCCL_ALGO", ""),
    ],
)
def test_a_value_that_is_no_such_setting_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidTrainSpec, match=f"worker_env.*{name}|{name}"):
        variables(**{name: value})
