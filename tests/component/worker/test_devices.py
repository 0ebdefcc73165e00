"""Which device a training process sees."""

import pytest

from tests.component.worker.test_watching import STUCK
from tests.platforms import Platform


def test_each_run_of_a_worker_sees_a_device_of_its_own_and_leaves_it_to_the_next(
    patient_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = patient_platform
    platform.publish("stuck", STUCK)
    runs = [platform.submit("stuck") for _ in range(3)]
    # Two of a machine's four; the others are somebody else's. Nothing here looks at one.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    worker = platform.start_worker(device_type="H200", device_count=2, concurrency=2)

    seen = {run.id: worker.job(run).environ()["CUDA_VISIBLE_DEVICES"] for run in runs[:2]}
    platform.client.cancel_run(runs[0].id)
    worker.job(runs[2])

    assert sorted(seen.values()) == ["1", "3"]
    assert worker.job(runs[2]).environ()["CUDA_VISIBLE_DEVICES"] == seen[runs[0].id]


def test_a_worker_that_is_to_attend_more_runs_than_it_has_devices_does_not_start(
    platform: Platform,
) -> None:
    worker = platform.start_worker(device_type="H200", device_count=2, concurrency=3)
    assert worker.process.wait(timeout=30) == 2
