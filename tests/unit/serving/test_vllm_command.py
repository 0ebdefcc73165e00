"""The command that starts an engine."""

from pathlib import Path

import pytest

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.engines import Endpoint
from serving_backend.settings import ServingSettings
from serving_backend.vllm_process import command_line

_SECRET = "not-on-a-command-line"


def _option(name: str, *, max_rank: int = 32, context: int = 8192, on_gpu: bool = False) -> str:
    command = _command(max_rank=max_rank, context=context, on_gpu=on_gpu)
    return command[command.index(f"--{name}") + 1]


def _command(*, on_gpu: bool = False, **entry: object) -> list[str]:
    return command_line(
        SMOLLM2_135M.model_copy(update=entry),
        ServingSettings(api_key="k", data_dir=Path("data"), cache_dir=Path("cache")),
        Path("model"),
        endpoint=Endpoint("http://127.0.0.1:5555", _SECRET),
        on_gpu=on_gpu,
    )


def test_it_listens_on_loopback_at_the_port_of_its_endpoint() -> None:
    assert (_option("host"), _option("port")) == ("127.0.0.1", "5555")


def test_the_key_is_not_on_the_command_line() -> None:
    assert not any(_SECRET in argument for argument in _command())


@pytest.mark.parametrize(("max_rank", "reserved"), [(1, "1"), (4, "8"), (32, "32"), (33, "64")])
def test_room_is_reserved_for_the_next_rank_that_vllm_knows(max_rank: int, reserved: str) -> None:
    assert _option("max-lora-rank", max_rank=max_rank) == reserved


@pytest.mark.parametrize(("context", "served"), [(512, "512"), (8192, "2048")])
def test_the_shorter_of_both_limits_holds(context: int, served: str) -> None:
    assert _option("max-model-len", context=context) == served


def test_what_a_model_says_is_parsed_as_its_catalog_entry_says() -> None:
    thinker = _command(reasoning_parser="qwen3", tool_parser="qwen3_coder")
    assert thinker[thinker.index("--reasoning-parser") + 1] == "qwen3"
    assert thinker[thinker.index("--tool-call-parser") + 1] == "qwen3_coder"
    assert "--enable-auto-tool-choice" in thinker
    assert not any("parser" in part or "tool" in part for part in _command())


def test_a_gpu_needs_no_limits_of_a_small_machine() -> None:
    assert "--max-num-seqs" not in _command(on_gpu=True)
