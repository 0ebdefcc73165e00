import pytest

from freesolo.domain.watchdog import Overdue, Patience, Phase, Watchdog, limit

PATIENCE = Patience(starting=100.0, step=50.0, checkpoint=70.0)


@pytest.mark.parametrize(
    ("phase", "steps", "seconds"),
    [
        (Phase.STARTING, [], 100.0),
        (Phase.STARTING, [30.0], 100.0),
        (Phase.CHECKPOINT, [30.0], 70.0),
        (Phase.STEP, [], 50.0),
        (Phase.STEP, [1.0, 2.0, 3.0], 50.0),
        (Phase.STEP, [1.0, 20.0, 30.0], 200.0),
        (Phase.ROLLOUTS, [1.0, 20.0, 30.0], 200.0),
    ],
)
def test_a_phase_may_last_as_long_as_it_usually_does_at_most(
    phase: Phase, steps: list[float], seconds: float
) -> None:
    assert limit(phase, steps, PATIENCE) == seconds


def test_an_attempt_that_never_begins_is_overdue() -> None:
    dog = Watchdog(PATIENCE)
    assert dog.look(Phase.STARTING, 0, passed=99.0) is None
    assert dog.look(Phase.STARTING, 0, passed=2.0) == Overdue(Phase.STARTING, 0, 100.0)


def test_sampling_and_learning_share_the_time_of_a_step() -> None:
    dog = Watchdog(PATIENCE)
    dog.look(Phase.ROLLOUTS, 4, passed=1.0)
    assert dog.look(Phase.ROLLOUTS, 4, passed=30.0) is None
    assert dog.look(Phase.STEP, 4, passed=30.0) == Overdue(Phase.STEP, 4, 50.0)


def test_a_step_that_ends_starts_the_clock_anew() -> None:
    dog = Watchdog(PATIENCE)
    for step in range(5):
        assert dog.look(Phase.STEP, step, passed=49.0) is None


def test_steps_that_take_long_are_given_longer() -> None:
    dog = Watchdog(PATIENCE)
    for step in range(3):
        dog.look(Phase.STEP, step, passed=20.0)
    assert dog.look(Phase.STEP, 2, passed=199.0) is None
    assert dog.look(Phase.STEP, 2, passed=2.0) == Overdue(Phase.STEP, 2, 200.0)


def test_steps_that_end_between_two_looks_share_the_time() -> None:
    dog = Watchdog(PATIENCE)
    dog.look(Phase.STEP, 0, passed=1.0)
    dog.look(Phase.STEP, 4, passed=40.0)
    assert dog.look(Phase.STEP, 4, passed=101.0) == Overdue(Phase.STEP, 4, 100.0)


def test_an_attempt_that_went_back_to_its_checkpoint_has_made_no_step() -> None:
    dog = Watchdog(PATIENCE)
    dog.look(Phase.STEP, 9, passed=1.0)
    dog.look(Phase.STEP, 5, passed=40.0)
    assert dog.look(Phase.STEP, 5, passed=51.0) == Overdue(Phase.STEP, 5, 50.0)
