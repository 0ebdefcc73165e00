"""How a vLLM engine is started and ended on this machine."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freesolo import engines, processes
from freesolo.base_models.store import local_path
from freesolo.domain.catalog import BaseModelEntry
from freesolo.engines import Endpoint
from freesolo.errors import EngineUnavailable
from serving_backend.engine import BASE_MODEL, Room
from serving_backend.engine_guard import KeyGuard
from serving_backend.engine_journal import FOLDER_VARIABLE, UsageJournal
from serving_backend.settings import EngineSettings
from serving_backend.synthetic_adapters import write_adapters
from serving_backend.usage import await_accounts, end_journal, journal_of, journals

_ROOM = Room(in_batch=4, in_memory=16)
_STOP_GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.1


@dataclass
class VllmProcess:
    """vLLM's own API server for one base model, in a session of its own, on a free port of `host`."""

    entry: BaseModelEntry
    settings: EngineSettings
    host: str = "127.0.0.1"
    room: Room = _ROOM
    _model: Path | None = None
    _child: subprocess.Popen[bytes] | None = None
    _journal: Path | None = None

    async def start(self) -> Endpoint:
        """Start vLLM on a free port with a new key; whatever ran before is ended first."""
        if not engines.is_installed():
            raise EngineUnavailable(
                "vLLM is not installed beside this gateway.", hint=engines.INSTALL_HINT
            )
        await self.stop()
        self._model = await asyncio.to_thread(
            local_path, self.entry, self.settings.cache_dir, hf_token=self.settings.hf_token
        )
        endpoint = engines.new_endpoint(self.host)
        self._child = self._spawn(self._model, endpoint)
        return endpoint

    async def write_adapters(self, folder: Path) -> Sequence[Path]:
        """Write as many small adapters for the model as one batch may mix; return their folders."""
        if self._model is None:
            raise ValueError("An engine that was not started has no model")
        return await asyncio.to_thread(write_adapters, self._model, folder, self.room.in_batch)

    def is_alive(self) -> bool:
        """Say whether the API server runs; it ends itself when the engine behind it dies."""
        return self._child is not None and self._child.poll() is None

    async def ended(self) -> None:
        """Return when the API server has ended."""
        # Not in a thread, which each engine would keep for as long as it lives.
        while self.is_alive():  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self) -> None:
        """End the whole session, also one that a killed gateway has left behind."""
        await asyncio.to_thread(
            processes.stop_recorded, self._record, grace=_STOP_GRACE_SECONDS if self._child else 0
        )
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)
            self._child = None
        if self._journal is not None:
            end_journal(self._journal)

    @property
    def _record(self) -> Path:
        return _records(self.settings) / f"engine-{self._slug}.json"

    @property
    def _slug(self) -> str:
        return f"{self.entry.id.replace('/', '--')}-{self.entry.served_as[:8]}"

    def _spawn(self, model: Path, endpoint: Endpoint) -> "subprocess.Popen[bytes]":
        on_gpu = shutil.which("nvidia-smi") is not None
        self._journal = journal_of(_usage(self.settings), endpoint.life)
        return processes.start(
            command_line(
                self.entry,
                self.settings,
                model,
                endpoint=endpoint,
                room=self.room,
                on_gpu=on_gpu,
            ),
            env=engines.environment(endpoint, kv_cache_gib=self.settings.kv_cache_gib)
            | {FOLDER_VARIABLE: str(self._journal)},
            log=self.settings.data_dir / "logs" / f"engine-{self._slug}.log",
            record=self._record,
        )


def stop_leftovers(settings: EngineSettings) -> None:
    """End the engines of an earlier gateway on this data folder that could not end them itself.

    They have noticed that it is gone, and are given the time to finish what it had asked.
    """
    records = list(_records(settings).glob("engine-*.json"))
    if any(map(processes.is_running, records)):
        for journal in journals(_usage(settings)):
            await_accounts(journal, seconds=_STOP_GRACE_SECONDS)
    for record in records:
        processes.stop_recorded(record, grace=0)
    for journal in journals(_usage(settings)):
        end_journal(journal)


def command_line(
    entry: BaseModelEntry,
    settings: EngineSettings,
    model: Path,
    *,
    endpoint: Endpoint,
    room: Room = _ROOM,
    on_gpu: bool,
) -> list[str]:
    """Return the command that serves `model`, a folder, with run-time LoRA at `endpoint`."""
    options: dict[str, object] = {
        "served-model-name": BASE_MODEL,
        "max-model-len": min(entry.context, settings.max_model_len),
        "max-lora-rank": engines.rank_room(entry.max_rank),
        "max-loras": room.in_batch,
        "max-cpu-loras": room.in_memory,
    }
    if not on_gpu:
        options |= {"dtype": "bfloat16", "max-num-seqs": 32}
    flags = ["enable-prompt-tokens-details", "enable-scale-out"]
    if entry.reasoning_parser:
        options["reasoning-parser"] = entry.reasoning_parser
    if entry.tool_parser:
        flags.append("enable-auto-tool-choice")
        options["tool-call-parser"] = entry.tool_parser
    # The last one stands before the others.
    options["middleware"] = tuple(
        f"{each.__module__}.{each.__name__}" for each in (UsageJournal, KeyGuard)
    )
    return engines.command(model, endpoint, flags=flags, options=options)


def _records(settings: EngineSettings) -> Path:
    return settings.data_dir / "run"


def _usage(settings: EngineSettings) -> Path:
    return settings.data_dir / "usage"
