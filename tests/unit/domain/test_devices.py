import pytest

from freesolo.domain.devices import Devices, can_serve, why_none_serves

A100 = Devices("NVIDIA A100-SXM4-80GB", 8)


@pytest.mark.parametrize(
    ("has", "needs", "fits"),
    [
        (A100, Devices(None, 1), True),
        (A100, Devices("A100", 8), True),
        (A100, Devices("a100-80gb", 1), True),
        (A100, Devices("A100", 9), False),
        (A100, Devices("A10", 1), False),
        (A100, Devices("cpu", 1), False),
        (Devices("NVIDIA H200", 1), Devices("H100", 1), False),
        (Devices("cpu", 1), Devices("CPU", 1), True),
        (Devices("cpu", 1), Devices(None, 2), False),
    ],
)
def test_a_worker_serves_what_its_devices_are(has: Devices, needs: Devices, fits: bool) -> None:
    assert can_serve(has, needs) is fits


def test_a_run_that_somebody_can_serve_waits_for_no_reason() -> None:
    assert why_none_serves(Devices("A100", 2), [Devices("cpu", 1), A100]) is None


def test_a_run_that_nobody_can_serve_is_told_what_there_is() -> None:
    reason = why_none_serves(Devices("H200", 2), [Devices("cpu", 1), A100])
    assert reason is not None
    assert "2 x H200" in reason
    assert "1 x cpu, 8 x NVIDIA A100-SXM4-80GB" in reason


def test_without_workers_every_run_waits() -> None:
    assert "No worker is known" in str(why_none_serves(Devices(None, 1), []))
