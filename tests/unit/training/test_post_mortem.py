import pytest

from freesolo.domain.watchdog import Overdue, Phase
from training_backend.post_mortem import Exit, Memory, explain_exit, explain_stall

GIB = 1 << 30
PLENTY = Memory(peak=2 * GIB, limit=16 * GIB, kills=0)
NEARLY_ALL = Memory(peak=15 * GIB, limit=16 * GIB, kills=0)
SYSTEM_KILLED = Memory(peak=9 * GIB, limit=16 * GIB, kills=1)


@pytest.mark.parametrize(
    ("ended", "code", "words"),
    [
        (Exit(-9, memory=PLENTY), "unavailable_job_died", "was killed (SIGKILL)"),
        (Exit(-9), "unavailable_job_died", "was killed (SIGKILL)"),
        (Exit(137, memory=PLENTY), "unavailable_job_died", "was killed (SIGKILL)"),
        (Exit(-9, memory=NEARLY_ALL), "limit_memory", "15.0 of 16.0 GiB"),
        (Exit(-9, memory=SYSTEM_KILLED), "limit_memory", "9.0 of 16.0 GiB"),
        (Exit(-11, memory=NEARLY_ALL), "unavailable_job_died", "was ended by SIGSEGV"),
        (Exit(-99, memory=PLENTY), "unavailable_job_died", "was ended by signal 99"),
        (Exit(1, memory=PLENTY, disk_free=0), "unavailable_storage_full", "disk is full"),
        (Exit(1, memory=PLENTY, disk_free=GIB), "unavailable_job_died", "exit code 1"),
        (Exit(0, memory=PLENTY), "unavailable_job_died", "exit code 0"),
        (Exit(8, memory=PLENTY), "unavailable_hub", "could not reach the hub"),
        (Exit(None, reason="Its node is gone."), "unavailable_worker_lost", "Its node is gone."),
        (Exit(None, reason="The node ran Out of Memory."), "limit_memory", "ran Out of Memory"),
        (
            Exit(None, reason="no node has 9 CPU.", began=False, refused=True),
            "unavailable_job_not_started",
            "never began: no node has 9 CPU.",
        ),
        (
            Exit(None, reason="it is full.", began=False),
            "unavailable_job_not_started",
            "never began: it is full.",
        ),
    ],
)
def test_every_end_has_a_reason(ended: Exit, code: str, words: str) -> None:
    error = explain_exit(ended, "the last line")

    assert error.code == code
    assert words in error.message
    assert error.hint
    assert error.traceback == "the last line"


@pytest.mark.parametrize(
    ("phase", "message", "hint"),
    [
        (Phase.STARTING, "Training had not begun", "FREESOLO_TRAIN_STARTING_SECONDS"),
        (Phase.ROLLOUTS, "Step 8 was still waiting for rollouts", "freesolo validate"),
        (Phase.STEP, "Step 8 had not ended", "FREESOLO_TRAIN_STEP_SECONDS"),
        (Phase.CHECKPOINT, "Saving after step 7", "FREESOLO_TRAIN_CHECKPOINT_SECONDS"),
    ],
)
def test_a_hung_run_is_told_where_it_hung(phase: Phase, message: str, hint: str) -> None:
    error = explain_stall(Overdue(phase, step=7, limit=60.0), "")

    assert error.code == "unavailable_stalled"
    assert message in error.message
    assert "60 s" in error.message
    assert hint in str(error.hint)
    assert error.traceback is None
