"""The gateway as a process whose engine is a stand-in for vLLM, a process too.

    python -m tests.fake_gateway

It reads its settings from the environment as the gateway does. Killed, it leaves its engine behind,
and started again on the same folder it does with that what the gateway does.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freesolo import engines, processes
from freesolo.engines import Endpoint
from freesolo.logs import configure_logging
from serving_backend import engine_journal
from serving_backend.app import create_app
from serving_backend.server import serve
from serving_backend.settings import ServingSettings
from serving_backend.usage import journal_of
from serving_backend.vllm_process import VllmProcess
from tests import fake_engine


@dataclass
class FakeVllmProcess(VllmProcess):
    """Starts the stand-in where vLLM would be started; all else is the gateway's own."""

    async def start(self) -> Endpoint:
        """Start the stand-in on a free port with a new key."""
        await self.stop()
        endpoint = engines.new_endpoint()
        self._child = self._spawn(Path(), endpoint)
        return endpoint

    async def write_adapters(self, folder: Path) -> Sequence[Path]:
        """Write adapters that the stand-in tells apart."""
        return fake_engine.write_adapters(folder, self.room.in_batch)

    def _spawn(self, model: Path, endpoint: Endpoint) -> "subprocess.Popen[bytes]":
        self._journal = journal_of(self.settings.data_dir / "usage", endpoint.life)
        return processes.start(
            [sys.executable, "-m", "tests.fake_engine", endpoint.url.rpartition(":")[2]],
            env=engines.environment(endpoint, kv_cache_gib=1)
            | {engine_journal.FOLDER_VARIABLE: str(self._journal)},
            log=self.settings.data_dir / "logs" / "engine.log",
            record=self._record,
        )


if __name__ == "__main__":
    settings = ServingSettings()
    configure_logging(settings.log_level)
    serve(create_app(settings, process=FakeVllmProcess), settings)
