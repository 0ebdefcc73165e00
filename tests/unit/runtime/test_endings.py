import pytest

from freesolo.runtime.child import Report, ending
from freesolo.runtime.sandbox import Limits

LIMITS = Limits(memory=12 * 1024**3)


@pytest.mark.parametrize(
    ("status", "breach", "words"),
    [
        (0, None, "ended itself with exit status 0"),
        (3, None, "ended itself with exit status 3"),
        (128, None, "ended itself with exit status 128"),
        (255, None, "ended itself with exit status 255"),
        (-11, None, "was killed by signal 11 (segmentation fault)"),
        (128 + 11, None, "was killed by signal 11 (segmentation fault)"),
        (-9, None, "was killed by signal 9 (killed)"),
        (-9, "memory", "ran out of memory: it may have 12288 MiB"),
        (-9, "processes", "started too many processes: it may have 512"),
        (-9, "disk", "filled its disk: its temporary files may have 1024 MiB"),
        (-9, "files", "made too many temporary files: it may have 100000"),
        (None, "start", "could not be started"),
    ],
)
def test_how_a_process_ended_is_said_in_words(
    status: int | None, breach: str | None, words: str
) -> None:
    assert ending(Report(status, breach, ""), LIMITS) == words
