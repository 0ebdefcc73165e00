import errno
import os
from pathlib import Path

import pytest

from freesolo.errors import Internal, StorageFull
from training_backend.job import explain


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_whichever_library_meets_it(error: Exception, tmp_path: Path) -> None:
    assert isinstance(explain(error, tmp_path), StorageFull)


def test_any_other_error_is_a_fault_of_ours(tmp_path: Path) -> None:
    assert isinstance(explain(KeyError("loss"), tmp_path), Internal)
