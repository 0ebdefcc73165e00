"""How the gateway listens, and how it ends: nothing new is taken on, and what is on its way is answered."""

import gc
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from serving_backend.completions import Completions
from serving_backend.settings import ServingSettings

# Answers on their way may finish; then the engine is ended.
_GRACE_SECONDS = 10.0
# What is still being sent after that is cut off.
_LAST_SECONDS = 1


def serve(app: FastAPI, settings: ServingSettings) -> None:
    """Serve the gateway until a signal ends it; a second one ends it at once."""
    # What the start has made stays. To look through it again, as Python would now and then, stops every
    # answer for a quarter of a second.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    _Server(config, app).run()


class _Server(uvicorn.Server):
    """Listens on for as long as answers are on their way, so that others are told 503."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._signal: tuple[int, float] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        completions = self._completions()
        if completions is None or self._signal is not None:
            super().handle_exit(sig, frame)
        else:
            completions.drain()
            self._signal = sig, time.monotonic() + _GRACE_SECONDS

    async def on_tick(self, counter: int) -> bool:
        completions = self._completions()
        if self._signal is not None and completions is not None:
            number, deadline = self._signal
            if not completions.in_flight() or time.monotonic() > deadline:
                super().handle_exit(number, None)
        return await super().on_tick(counter)

    def _completions(self) -> Completions | None:
        return getattr(self._app.state, "completions", None)
