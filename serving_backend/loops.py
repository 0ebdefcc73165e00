"""What a process of ours does beside its requests, for as long as it lives."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)


@asynccontextmanager
async def running(loop: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run a loop while the block does. If it meets a fault of ours, the process ends itself."""
    task = asyncio.create_task(loop())
    task.add_done_callback(_end_process_on_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _end_process_on_failure(task: "asyncio.Task[None]") -> None:
    """End the process, which is started again whole by whoever looks after it."""
    if not task.cancelled() and (fault := task.exception()):
        logger.critical("the process ends itself", exc_info=fault)
        signal.raise_signal(signal.SIGTERM)
