"""Which devices a worker has, and which of them each of its runs is shown."""

import pytest
from pydantic import SecretStr

from freesolo.domain.devices import Devices
from freesolo.errors import InvalidInput
from training_backend.devices import OwnDevices, own_devices, slots
from training_backend.settings import TrainingSettings

TWO = "0, GPU-aa11, NVIDIA H200\n1, GPU-bb22, NVIDIA H200\n"
MIXED = "0, GPU-aa11, NVIDIA T4\n1, GPU-bb22, NVIDIA L4\n2, GPU-cc33, NVIDIA L4\n"


def settings_with(**changes: object) -> TrainingSettings:
    return TrainingSettings(api_key=SecretStr("key"), threads=4).model_copy(update=changes)


@pytest.mark.parametrize(
    ("listing", "visible", "devices", "names"),
    [
        ("", None, Devices("cpu-4", 1), ()),
        ("", "0,1", Devices("cpu-4", 1), ()),
        (TWO, None, Devices("NVIDIA H200", 2), ("0", "1")),
        (TWO, "1", Devices("NVIDIA H200", 1), ("1",)),
        (TWO, "GPU-bb,GPU-aa11", Devices("NVIDIA H200", 2), ("GPU-bb", "GPU-aa11")),
        (TWO, "MIG-77aa", Devices("NVIDIA H200", 1), ("MIG-77aa",)),
        (TWO, "1,-1,0", Devices("NVIDIA H200", 1), ("1",)),
        (TWO, "", Devices("cpu-4", 1), ()),
        (MIXED, None, Devices("NVIDIA L4", 2), ("1", "2")),
        (MIXED, "0,2", Devices("NVIDIA T4", 1), ("0",)),
    ],
)
def test_a_worker_has_the_devices_that_are_there_and_that_it_may_see(
    listing: str, visible: str | None, devices: Devices, names: tuple[str, ...]
) -> None:
    found = own_devices(settings_with(), listing=listing, visible=visible)
    assert found == OwnDevices(devices, names)


@pytest.mark.parametrize(
    ("told", "listing", "devices", "names"),
    [
        ({"device_type": "cpu-8"}, TWO, Devices("cpu-8", 1), ()),
        ({"device_type": "T4"}, MIXED, Devices("T4", 1), ("0",)),
        ({"device_type": "the big one"}, TWO, Devices("the big one", 2), ("0", "1")),
        ({"device_count": 1}, TWO, Devices("NVIDIA H200", 1), ("0",)),
        ({"device_type": "MI300X", "device_count": 2}, "", Devices("MI300X", 2), ("0", "1")),
        ({"device_type": "MI300X"}, "", Devices("MI300X", 1), ()),
        # Of a cluster, which has more of them than the worker's machine.
        ({"device_type": "H200", "device_count": 8}, TWO, Devices("H200", 8), ("0", "1")),
    ],
)
def test_what_the_settings_say_of_the_devices_counts(
    told: dict[str, object], listing: str, devices: Devices, names: tuple[str, ...]
) -> None:
    found = own_devices(settings_with(**told), listing=listing, visible=None)
    assert found == OwnDevices(devices, names)


def test_without_a_listing_the_devices_are_those_that_the_worker_may_see() -> None:
    found = own_devices(settings_with(device_type="H200"), listing="", visible="2,3")
    assert found == OwnDevices(Devices("H200", 2), ("2", "3"))


def test_each_run_of_a_worker_has_a_device_alone() -> None:
    found = slots(settings_with(concurrency=2), Devices("NVIDIA H200", 3), ("3", "5", "7"))
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in found] == ["3", "5"]


def test_runs_on_processors_share_them() -> None:
    assert slots(settings_with(concurrency=3), Devices("cpu-4", 1), ()) == [{}, {}, {}]
    told = settings_with(device_type="cpu")
    assert slots(told, Devices("cpu", 1), ()) == [{"CUDA_VISIBLE_DEVICES": ""}]


def test_one_run_on_a_device_that_nobody_can_name_has_what_there_is() -> None:
    assert slots(settings_with(), Devices("MI300X", 1), ()) == [{}]


@pytest.mark.parametrize(("names", "known"), [((), "0 of H200"), (("0", "1"), "2 of H200")])
def test_more_runs_than_devices_are_refused(names: tuple[str, ...], known: str) -> None:
    with pytest.raises(InvalidInput, match=known) as caught:
        slots(settings_with(concurrency=3), Devices("H200", 2), names)
    assert "FREESOLO_TRAIN_CONCURRENCY" in str(caught.value.hint)
