import threading
from collections.abc import Mapping

import pytest

from freesolo.domain.train_spec import TrackioSpec, WandbSpec
from freesolo.errors import InvalidTrainSpec
from tests.unit.training.leases import make_lease
from training_backend.trackers import Tracker, TrackerThread, described, require_trackers

KEY = "a-key-that-nobody-may-see"


class Recorder:
    """A tracker that remembers what it was told, and breaks where it is asked to."""

    def __init__(self, *, breaks_at: int | None = None) -> None:
        self.steps: dict[int, Mapping[str, float]] = {}
        self.failed: bool | None = None
        self._breaks_at = breaks_at

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step == self._breaks_at:
            raise ConnectionError(f"401 for {KEY}")
        self.steps[step] = values

    def finish(self, *, failed: bool) -> None:
        self.failed = failed


def test_a_tracker_gets_every_step_and_how_the_run_ended() -> None:
    recorder = Recorder()
    thread = TrackerThread("recorder", lambda: recorder)
    for step in (1, 2, 3):
        thread.log(step, {"loss": 1.0 / step})
    thread.finish(failed=True, seconds=10)

    assert recorder.steps == {1: {"loss": 1.0}, 2: {"loss": 0.5}, 3: {"loss": 1.0 / 3}}
    assert recorder.failed is True
    assert thread.trouble() is None


def test_a_tracker_that_breaks_is_told_of_once_and_never_with_its_key() -> None:
    recorder = Recorder(breaks_at=2)
    thread = TrackerThread("recorder", lambda: recorder, secrets=[KEY])
    for step in (1, 2, 3):
        thread.log(step, {"loss": 1.0})
    thread.finish(failed=False, seconds=10)
    thread.log(4, {"loss": 1.0})

    assert list(recorder.steps) == [1]
    assert thread.trouble() == (
        "recorder does not get the metrics of this run: ConnectionError: 401 for ****. "
        "The run goes on."
    )
    assert thread.trouble() is None


def test_a_tracker_that_cannot_be_opened_is_told_of() -> None:
    def refuse() -> Tracker:
        raise ValueError("There is no such project.")

    thread = TrackerThread("recorder", refuse)
    thread.finish(failed=False, seconds=10)

    assert "no such project. The run goes on" in (thread.trouble() or "")


def test_a_tracker_that_hangs_holds_up_nothing() -> None:
    released = threading.Event()

    def hang() -> Tracker:
        released.wait()
        return Recorder()

    thread = TrackerThread("recorder", hang)
    thread.log(1, {"loss": 1.0})
    thread.finish(failed=False, seconds=0.01)

    assert "did not finish in time" in (thread.trouble() or "")
    released.set()


@pytest.mark.parametrize(
    "table", [{"wandb": WandbSpec(project="math")}, {"trackio": TrackioSpec(project="math")}]
)
def test_a_tracker_that_is_not_installed_is_named_with_what_to_install(
    table: dict[str, object],
) -> None:
    (name,) = table
    lease = make_lease(spec=make_lease().spec.model_copy(update=table))
    with pytest.raises(InvalidTrainSpec, match=f"lacks the package {name}") as refused:
        require_trackers(lease)
    assert f"freesolo[{name}]" in (refused.value.hint or "")


def test_a_run_without_trackers_needs_no_package() -> None:
    require_trackers(make_lease())


def test_a_tracker_is_shown_what_decides_a_run_and_no_token() -> None:
    lease = make_lease()
    shown = described(lease)
    assert shown["environment_digest"] == lease.environment.tree_digest
    assert "train" in shown
    assert lease.token not in str(shown)
