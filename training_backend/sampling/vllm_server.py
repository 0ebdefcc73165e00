"""Where the vLLM comes from that samples: a child of this job, or a server that exists already."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Protocol

from pydantic import SecretStr

from freesolo import engines, processes
from freesolo.errors import EngineUnavailable
from training_backend.vllm_client import VllmClient

_BASE_MODEL = "base"
# A large model is read from disk, and compiled for.
_START_SECONDS = 900.0
_POLL_SECONDS = 0.25
_STOP_GRACE_SECONDS = 10.0
_LOG_TAIL = 2000
# The new adapter is there before the old one goes.
_ADAPTERS = 2
# Requests that are computed side by side; more of them would only wait in the engine.
_CPU_REQUESTS = 32
_GPU_REQUESTS = 256
# Memory for contexts: on a CPU in GiB; on a GPU the share of it that the trainer leaves to vLLM.
_KV_CACHE_GIB = 1
_GPU_SHARE = 0.4
# As many as a config may name; vLLM takes four unless it is told.
_STOP_SEQUENCES = 16


@dataclass(frozen=True)
class Engine:
    """A running server: who asks it, the name of its base model, the most tokens it reads, and the
    most requests that it is sent at once."""

    client: VllmClient
    base: str
    context: int
    requests: int


class EngineSource(Protocol):
    """Gives a running engine, and another if that has died."""

    def start(self) -> Engine:
        """Return the engine once it answers. Raise `EngineUnavailable` if it does not."""

    def is_alive(self) -> bool:
        """Say whether the engine that was started last can still answer."""

    def stop(self) -> None:
        """End what was started."""


@dataclass
class OwnEngine:
    """A vLLM server of this job's own, in its session: it ends with the job, however that ends.

    `reasoning` says that answers begin with thinking, to which no grammar applies.
    """

    model: Path
    rank: int
    context: int
    on_gpu: bool
    log: Path
    reasoning: bool = False
    _child: "Popen[bytes] | None" = None
    _client: VllmClient | None = None

    def start(self) -> Engine:
        """Start the server on a free port of loopback, with a key of its own."""
        self.stop()
        endpoint = engines.new_endpoint()
        self._child = processes.start_beside(
            self.command(endpoint),
            env=engines.environment(endpoint, kv_cache_gib=_KV_CACHE_GIB)
            | {"VLLM_MAX_STOP_STRINGS": str(_STOP_SEQUENCES)},
            log=self.log,
        )
        client = VllmClient(endpoint.url, endpoint.api_key, named="The job's vLLM")
        try:
            self._await_health(client)
        except BaseException:
            client.close()
            self.stop()
            raise
        self._client = client
        requests = _GPU_REQUESTS if self.on_gpu else _CPU_REQUESTS
        return Engine(client, _BASE_MODEL, self.context, requests)

    def is_alive(self) -> bool:
        """Say whether the server runs and its engine too, which it outlives by a moment."""
        return self._runs() and self._client is not None and self._client.is_healthy()

    def _runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """End the server and what it started."""
        if self._child is not None:
            processes.stop_tree(self._child, grace=_STOP_GRACE_SECONDS)
            self._child = None

    def command(self, endpoint: engines.Endpoint) -> list[str]:
        """Return the command that serves the base model, and the policy's adapters on it."""
        options: dict[str, object] = {
            "served-model-name": _BASE_MODEL,
            "max-model-len": self.context,
            "max-lora-rank": engines.rank_room(self.rank),
            "max-loras": _ADAPTERS,
            "max-cpu-loras": _ADAPTERS,
            # At the run's temperature: what the policy's tokens are weighted by.
            "logprobs-mode": "processed_logprobs",
        }
        if self.reasoning:
            options["reasoning-parser"] = "qwen3"
        if self.on_gpu:
            options |= {"gpu-memory-utilization": _GPU_SHARE, "max-num-seqs": _GPU_REQUESTS}
        else:
            options |= {"dtype": "bfloat16", "max-num-seqs": _CPU_REQUESTS}
        return engines.command(self.model, endpoint, flags=(), options=options)

    def _await_health(self, client: VllmClient) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not client.is_healthy():
            if not self._runs() or time.monotonic() > deadline:
                raise EngineUnavailable(
                    f"The job's vLLM did not start. Its log ends: {self._last_words()}",
                    hint="FREESOLO_TRAIN_SAMPLER=in-process does without it on a CPU.",
                )
            time.sleep(_POLL_SECONDS)

    def _last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.is_file() else ""
        return text[-_LOG_TAIL:]


@dataclass
class NamedEngine:
    """A vLLM server that somebody else runs, and that reads this machine's files."""

    url: str
    api_key: SecretStr | None

    def start(self) -> Engine:
        """Ask the server for its base model and its limits."""
        client = self._client()
        try:
            bases = [model for model in client.models() if model.get("parent") is None]
            context = bases[0].get("max_model_len") if bases else None
            if not isinstance(context, int):
                raise client.unlike("it does not tell its model's context")
        except BaseException:
            client.close()
            raise
        return Engine(client, str(bases[0]["id"]), context, _CPU_REQUESTS)

    def is_alive(self) -> bool:
        """Say whether the server answers."""
        with closing(self._client()) as client:
            return client.is_healthy()

    def stop(self) -> None:
        """Leave the server as it is."""

    def _client(self) -> VllmClient:
        key = self.api_key.get_secret_value() if self.api_key else None
        return VllmClient(self.url, key, named=f"The vLLM server at {self.url}")
