"""What an engine tells its callers when the machine lets it down."""

import asyncio
import errno
import os

import pytest

from freesolo.engines import Endpoint
from freesolo.errors import EngineUnavailable
from serving_backend.engine import Engine
from serving_backend.self_test import self_test
from tests.fake_engine import FakeEngine, FakeProcess


class FullDisk(FakeProcess):
    """Finds no room for its log."""

    async def start(self) -> Endpoint:
        self.starts += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_start_that_the_system_refuses_gives_its_reason_and_is_not_repeated_at_once() -> None:
    process = FullDisk(FakeEngine())

    async def ask_twice() -> None:
        engine = Engine(process, model="acme/tiny", self_test=self_test)
        for reason in ("No space left on device", "No space left on device.*started again in"):
            with pytest.raises(EngineUnavailable, match=reason):
                await engine.session(wait_seconds=5)

    asyncio.run(ask_twice())

    assert process.starts == 1
