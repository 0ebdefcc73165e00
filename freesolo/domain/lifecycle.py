"""The states of runs and deployments, and which may follow which."""

from enum import StrEnum

from freesolo.errors import IllegalTransition


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeploymentState(StrEnum):
    """Where the deployment of an adapter stands."""

    QUEUED = "queued"
    LOADING = "loading"
    SMOKING = "smoking"
    READY = "ready"
    FAILED = "failed"
    UNDEPLOYED = "undeployed"


RUN_ENDED = frozenset({RunState.DONE, RunState.FAILED, RunState.CANCELLED})
RUN_LEASED = frozenset({RunState.STARTING, RunState.RUNNING})
DEPLOYMENT_ENDED = frozenset(
    {DeploymentState.READY, DeploymentState.FAILED, DeploymentState.UNDEPLOYED}
)
DEPLOYMENT_LEASED = frozenset({DeploymentState.LOADING, DeploymentState.SMOKING})
# Served, or on its way to be.
DEPLOYMENT_CURRENT = DEPLOYMENT_LEASED | {DeploymentState.QUEUED, DeploymentState.READY}

# A leased run goes back to `queued` when its worker is lost.
_RUN_NEXT = {
    RunState.QUEUED: {RunState.STARTING, RunState.CANCELLED, RunState.FAILED},
    RunState.STARTING: {RunState.RUNNING, RunState.QUEUED, RunState.FAILED, RunState.CANCELLED},
    RunState.RUNNING: {RunState.DONE, RunState.QUEUED, RunState.FAILED, RunState.CANCELLED},
    RunState.DONE: set(),
    RunState.FAILED: set(),
    RunState.CANCELLED: set(),
}
# A deployment whose gateway is lost goes back to `queued`; a ready one may be replaced or withdrawn.
_DEPLOYMENT_NEXT = {
    DeploymentState.QUEUED: {
        DeploymentState.LOADING,
        DeploymentState.FAILED,
        DeploymentState.UNDEPLOYED,
    },
    DeploymentState.LOADING: {
        DeploymentState.SMOKING,
        DeploymentState.QUEUED,
        DeploymentState.FAILED,
        DeploymentState.UNDEPLOYED,
    },
    DeploymentState.SMOKING: {
        DeploymentState.READY,
        DeploymentState.QUEUED,
        DeploymentState.FAILED,
        DeploymentState.UNDEPLOYED,
    },
    DeploymentState.READY: {DeploymentState.UNDEPLOYED},
    DeploymentState.FAILED: set(),
    DeploymentState.UNDEPLOYED: set(),
}


def next_run_state(current: RunState, wanted: RunState) -> RunState:
    """Return `wanted` if a run may go there from `current`; raise `IllegalTransition` if not."""
    if wanted not in _RUN_NEXT[current]:
        raise IllegalTransition(f"A run that is {current} cannot become {wanted}.")
    return wanted


def next_deployment_state(current: DeploymentState, wanted: DeploymentState) -> DeploymentState:
    """Return `wanted` if a deployment may go there; raise `IllegalTransition` if not."""
    if wanted not in _DEPLOYMENT_NEXT[current]:
        raise IllegalTransition(f"A deployment that is {current} cannot become {wanted}.")
    return wanted
