"""Where the pace of a run comes from: runs that ended, else anchors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.devices import Device, answers_to, named_device
from freesolo.domain.throughput import RunSpeed, anchored, measured, speed_of

CPU = Device("cpu-2")
H200 = named_device("NVIDIA H200")


def test_the_middle_of_all_steps_is_expected() -> None:
    pace = measured([RunSpeed(trained=[100, 200, 400]), RunSpeed(trained=[200, 200])])
    assert pace is not None
    assert pace.trained.expected == 1 / 200
    assert 1 / 400 <= pace.trained.low < pace.trained.expected < pace.trained.high <= 1 / 100
    assert pace.source == "measured on 2 runs here"


def test_runs_that_reported_nothing_tell_nothing() -> None:
    assert measured([]) is None
    assert measured([RunSpeed(trained=[]), RunSpeed(trained=[0.0])]) is None


def test_only_runs_that_told_something_are_counted() -> None:
    pace = measured([RunSpeed(trained=[10.0]), RunSpeed(trained=[])])
    assert pace is not None
    assert pace.source == "measured on 1 run here"


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40))
def test_a_span_holds_what_is_expected(rates: list[float]) -> None:
    pace = measured([RunSpeed(trained=rates, sampled=rates, scoring=rates, start_up=rates[0])])
    assert pace is not None
    assert pace.sampled is not None
    for span in (pace.trained, pace.sampled, pace.scoring, pace.start_up):
        assert 0 <= span.low <= span.expected <= span.high


def test_a_run_that_samples_trains_for_a_part_of_its_step() -> None:
    step = {
        "tokens_per_s": 50.0,
        "time/step": 10.0,
        "time/update": 4.0,
        # Scoring is a part of it.
        "time/rollouts": 5.8,
        "time/scoring": 0.8,
        "completions/mean_length": 20.0,
    }
    speed = speed_of([step], rollouts=16, start_up=12.0)
    assert speed == RunSpeed([125.0], [64.0], [0.05], 12.0)


def test_a_step_in_which_nothing_was_to_be_learned_tells_no_pace() -> None:
    step = {"tokens_per_s": 50.0, "time/step": 10.0, "time/update": 4.0, "time/rollouts": 6.0}
    silent = {"tokens_per_s": 0.0, "time/step": 6.0, "time/update": 1e-4, "time/rollouts": 6.0}

    assert speed_of([silent, step, silent], rollouts=16, start_up=None).trained == [125.0]
    assert measured([speed_of([silent], rollouts=16, start_up=None)]) is None


def test_a_run_that_imitates_trains_for_the_whole_step() -> None:
    speed = speed_of([{"tokens_per_s": 175.0, "time/step": 3.1}], rollouts=0, start_up=None)
    assert speed == RunSpeed([175.0], [], [], None)


def test_the_cpu_anchor_is_what_the_benchmark_measured() -> None:
    pace = anchored(CPU, SMOLLM2_135M)
    assert pace is not None
    assert 8 * 68 * pace.trained.expected == pytest.approx(3.11, rel=0.01)
    assert pace.source.startswith("anchor: ")


def test_twice_the_cores_take_half_the_time() -> None:
    two, four = anchored(CPU, SMOLLM2_135M), anchored(Device("cpu-4"), SMOLLM2_135M)
    assert two is not None
    assert four is not None
    assert two.trained.expected == pytest.approx(2 * four.trained.expected)


@given(st.integers(10**6, 10**12), st.integers(10**6, 10**12), st.sampled_from([CPU, H200]))
def test_a_larger_model_is_never_faster(one: int, other: int, device: Device) -> None:
    small, large = sorted((one, other))
    fast = anchored(device, SMOLLM2_135M.model_copy(update={"parameters": small}))
    slow = anchored(device, SMOLLM2_135M.model_copy(update={"parameters": large}))
    assert fast is not None
    assert slow is not None
    assert fast.trained.expected <= slow.trained.expected


def test_a_small_model_on_a_large_device_is_about_as_fast_as_was_published() -> None:
    small = SMOLLM2_135M.model_copy(update={"parameters": 600_000_000})
    pace = anchored(named_device("NVIDIA H100 80GB HBM3"), small)
    assert pace is not None
    assert 1 / pace.trained.expected == pytest.approx(13_342, rel=0.05)


def test_a_device_without_figures_has_no_anchor() -> None:
    assert anchored(named_device("NVIDIA RTX 9999"), SMOLLM2_135M) is None


@pytest.mark.parametrize(
    ("wanted", "name", "answers"),
    [
        (None, "cpu-2", True),
        ("cpu", "cpu-2", True),
        ("h200", "NVIDIA H200", True),
        ("H100", "NVIDIA H200", False),
    ],
)
def test_a_device_answers_to_a_part_of_its_name(
    wanted: str | None, name: str, answers: bool
) -> None:
    assert answers_to(name, wanted) is answers


@pytest.mark.parametrize(
    ("name", "gigabytes", "gpu"),
    [("NVIDIA H200", 141.0, True), ("NVIDIA L4", 25.8, True), ("cpu", None, False)],
)
def test_what_makers_state_is_known_of_their_devices(
    name: str, gigabytes: float | None, gpu: bool
) -> None:
    device = named_device(name)
    memory = None if device.memory is None else round(device.memory / 1e9, 1)
    assert (memory, device.gpu) == (gigabytes, gpu)


def test_a_cpu_tells_its_cores_by_its_name() -> None:
    assert [Device(name).cores for name in ("cpu-16", "cpu", "cpu-0", "cpu-x")] == [16, 2, 2, 2]
