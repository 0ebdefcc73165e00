"""Why an attempt ended that did not say so itself: from what is known to a reason to act on."""

import signal
from dataclasses import dataclass

from freesolo.domain.watchdog import Overdue, Phase
from freesolo.errors import (
    FreesoloError,
    HubUnavailable,
    JobDied,
    JobNotStarted,
    OutOfMemory,
    RunStalled,
    StorageFull,
    WorkerLost,
)
from freesolo.schemas.runs import RunError

MORE_MEMORY = (
    "Lower `train.max_context_tokens`, `train.batch_size` or `train.lora_rank`, or use a machine "
    "with more memory."
)
_RETRIED = "It is tried again from its newest checkpoint."
_WAITS = "It is tried again, as often as it takes; this is not held against the run."
_PLACE = (
    "Mend what the message names. A job asks for FREESOLO_TRAIN_THREADS CPUs of one node, and for a GPU "
    "unless FREESOLO_TRAIN_DEVICE_TYPE of the worker is a CPU's; `ray status` shows what there is."
)
# A process that used so much of what there is was near its end.
_NEARLY_ALL = 0.9
_FULL_DISK = 1 << 20
_SHELL_SIGNAL = 128

_GIB = 1 << 30


@dataclass(frozen=True)
class Memory:
    """What was seen of a process's memory: its peak, what there is, and whether the system killed
    processes for lack of it meanwhile."""

    peak: int
    limit: int
    kills: int


@dataclass(frozen=True)
class Exit:
    """How the process of an attempt ended, as far as its executor can tell.

    `code` is None where nobody saw it end; then `reason` says what is known instead. One that never
    `began` was `refused` if it would be again, and not only found no room.
    """

    code: int | None
    reason: str = ""
    memory: Memory | None = None
    disk_free: int | None = None
    began: bool = True
    refused: bool = False


def explain_exit(ended: Exit, log_tail: str) -> RunError:
    """Say how a training process died that reported nothing, with the end of its output."""
    error, message, hint = _cause(ended)
    return RunError(code=error.code, message=message, hint=hint, traceback=log_tail or None)


def explain_stall(overdue: Overdue, log_tail: str) -> RunError:
    """Say where a run hung."""
    waited = f"{overdue.limit:.0f} s"
    message, hint = {
        Phase.STARTING: (
            f"Training had not begun after {waited}.",
            "Look at its log for what it waited for: installing the environment, loading the base "
            "model, the environment's own start. FREESOLO_TRAIN_STARTING_SECONDS gives it longer.",
        ),
        Phase.ROLLOUTS: (
            f"Step {overdue.step + 1} was still waiting for rollouts after {waited}.",
            "Does the environment answer? `freesolo validate` measures it. Fewer or shorter rollouts "
            "(`train.batch_size`, `train.group_size`, `train.max_completion_tokens`) take less "
            "time; FREESOLO_TRAIN_STEP_SECONDS gives a step longer.",
        ),
        Phase.STEP: (
            f"Step {overdue.step + 1} had not ended after {waited}.",
            "A smaller `train.batch_size` or `train.max_context_tokens` takes less time; "
            "FREESOLO_TRAIN_STEP_SECONDS gives a step longer.",
        ),
        Phase.CHECKPOINT: (
            f"Saving after step {overdue.step} had not ended after {waited}.",
            "Is the worker's disk, or its connection to the hub, very slow? "
            "FREESOLO_TRAIN_CHECKPOINT_SECONDS gives it longer.",
        ),
    }[overdue.phase]
    return RunError(code=RunStalled.code, message=message, hint=hint, traceback=log_tail or None)


def explain_loss(worker_id: str, attempt: int) -> RunError:
    """Say that a worker was killed, as its successor on the same machine sees it."""
    return RunError(
        code=WorkerLost.code,
        message=f"The worker {worker_id!r} was killed during attempt {attempt}.",
        hint=_RETRIED,
    )


def _cause(ended: Exit) -> tuple[type[FreesoloError], str, str]:
    code = ended.code
    if not ended.began:
        waits = f"The training process never began: {ended.reason}"
        return JobNotStarted, waits, _PLACE if ended.refused else _WAITS
    if code is None:
        lost = f"The training process is lost: {ended.reason}"
        if "out of memory" in ended.reason.lower():
            return OutOfMemory, lost, MORE_MEMORY
        return WorkerLost, lost, _RETRIED
    # A shell in between tells of a signal in its own way.
    number = -code if code < 0 else code - _SHELL_SIGNAL
    words = cause_of_death(-number if number > 0 else code)
    if number == signal.SIGKILL and ended.memory is not None and _was_short(ended.memory):
        used = f"it had used {ended.memory.peak / _GIB:.1f} of {ended.memory.limit / _GIB:.1f} GiB"
        return OutOfMemory, f"The training process ran out of memory: {used}.", MORE_MEMORY
    if ended.disk_free is not None and ended.disk_free < _FULL_DISK:
        return (
            StorageFull,
            f"The training process {words}; the worker's disk is full.",
            "Free some space on the worker; the run goes on from its newest checkpoint.",
        )
    if code == HubUnavailable.exit_code:
        return HubUnavailable, "The training process could not reach the hub any more.", _RETRIED
    return JobDied, f"The training process {words}.", _RETRIED


def _was_short(memory: Memory) -> bool:
    return memory.kills > 0 or memory.peak > _NEARLY_ALL * memory.limit


def cause_of_death(exit_code: int) -> str:
    """Describe a process's exit code; a negative one is the number of a signal."""
    if exit_code == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does when memory runs out"
    if exit_code < 0:
        return f"was ended by {_signal_name(-exit_code)}"
    return f"ended with exit code {exit_code} without reporting an outcome"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
