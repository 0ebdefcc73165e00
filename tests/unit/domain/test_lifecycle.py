"""States: the legal ways, and no others."""

import pytest

from freesolo.domain.lifecycle import (
    RUN_ENDED,
    DeploymentState,
    RunState,
    next_deployment_state,
    next_run_state,
)
from freesolo.errors import IllegalTransition


@pytest.mark.parametrize("ended", sorted(RUN_ENDED))
@pytest.mark.parametrize("wanted", list(RunState))
def test_a_run_that_has_ended_stays_so(ended: RunState, wanted: RunState) -> None:
    with pytest.raises(IllegalTransition, match=ended):
        next_run_state(ended, wanted)


@pytest.mark.parametrize("leased", [RunState.STARTING, RunState.RUNNING])
def test_a_run_whose_worker_is_lost_goes_back_to_the_queue(leased: RunState) -> None:
    assert next_run_state(leased, RunState.QUEUED) is RunState.QUEUED


def test_a_run_cannot_be_done_before_it_ran() -> None:
    with pytest.raises(IllegalTransition):
        next_run_state(RunState.STARTING, RunState.DONE)


def test_a_deployment_is_ready_only_after_its_smoke() -> None:
    with pytest.raises(IllegalTransition):
        next_deployment_state(DeploymentState.LOADING, DeploymentState.READY)
    assert (
        next_deployment_state(DeploymentState.SMOKING, DeploymentState.READY)
        is DeploymentState.READY
    )
