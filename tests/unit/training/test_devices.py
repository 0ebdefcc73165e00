import pytest

from freesolo.domain.devices import Devices
from training_backend.devices import devices_of


@pytest.mark.parametrize(
    ("listing", "devices"),
    [
        ("", Devices("cpu", 1)),
        ("NVIDIA H200\n", Devices("NVIDIA H200", 1)),
        ("NVIDIA H200\nNVIDIA H200\n", Devices("NVIDIA H200", 2)),
        ("NVIDIA T4\nNVIDIA L4\nNVIDIA L4\n", Devices("NVIDIA L4", 2)),
    ],
)
def test_a_listing_of_accelerators_says_what_a_run_can_have(listing: str, devices: Devices) -> None:
    assert devices_of(listing) == devices
