import pytest

from freesolo.domain.devices import Devices, answers_to, why_none_serves

A100 = Devices("NVIDIA A100-SXM4-80GB", 8)


@pytest.mark.parametrize(
    ("has", "wanted", "fits"),
    [
        (A100.type, None, True),
        (A100.type, "A100", True),
        (A100.type, "a100-80gb", True),
        (A100.type, "A10", False),
        (A100.type, "cpu", False),
        ("NVIDIA H200", "H100", False),
        ("cpu", "CPU", True),
    ],
)
def test_a_worker_serves_what_its_devices_are(has: str, wanted: str | None, fits: bool) -> None:
    assert answers_to(has, wanted) is fits


def test_a_run_that_somebody_can_serve_waits_for_no_reason() -> None:
    assert why_none_serves("A100", [Devices("cpu", 1), A100]) is None


def test_a_run_that_nobody_can_serve_is_told_what_there_is() -> None:
    reason = why_none_serves("H200", [Devices("cpu", 1), A100])
    assert reason is not None
    assert "No known worker has 'H200'" in reason
    assert "1 x cpu, 8 x NVIDIA A100-SXM4-80GB" in reason


def test_without_workers_every_run_waits() -> None:
    assert "No worker is known" in str(why_none_serves(None, []))
