import pytest
from pydantic import SecretStr

from freesolo.domain.devices import Devices, cpu_with
from training_backend.devices import devices_of, find_devices
from training_backend.settings import TrainingSettings


@pytest.mark.parametrize(
    ("listing", "devices"),
    [
        ("", None),
        ("NVIDIA H200\n", Devices("NVIDIA H200", 1)),
        ("NVIDIA H200\nNVIDIA H200\n", Devices("NVIDIA H200", 2)),
        ("NVIDIA T4\nNVIDIA L4\nNVIDIA L4\n", Devices("NVIDIA L4", 2)),
    ],
)
def test_a_listing_of_accelerators_says_what_a_run_can_have(
    listing: str, devices: Devices | None
) -> None:
    assert devices_of(listing) == devices


def test_a_worker_without_accelerators_has_its_cores() -> None:
    settings = TrainingSettings(api_key=SecretStr("key"), threads=4, device_type="cpu-8")
    assert find_devices(settings) == Devices("cpu-8", 1)
    assert cpu_with(4) == "cpu-4"
