"""Which engine serves which base model."""

from pathlib import Path

from pydantic import SecretStr

from freesolo.domain.catalog import SMOLLM2_135M
from serving_backend.settings import ServingSettings
from serving_backend.vllm_process import VllmProcess

SETTINGS = ServingSettings(
    api_key=SecretStr("fslo_gateway"), data_dir=Path("/data"), cache_dir=Path("/cache")
)
OTHERS = SMOLLM2_135M.model_copy(update={"revision": "another"})


def test_the_processes_of_two_models_of_one_name_are_recorded_apart() -> None:
    assert VllmProcess(SMOLLM2_135M, SETTINGS)._record != VllmProcess(OTHERS, SETTINGS)._record
