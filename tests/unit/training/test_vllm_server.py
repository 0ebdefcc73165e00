"""The command by which a job starts its own vLLM, and what it asks of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from freesolo.domain.train_tables import StructuredOutputs
from freesolo.engines import Endpoint
from training_backend.sampling.sampler import Finish, Request, Rules, Sampled
from training_backend.sampling.vllm import request_options, to_sampled
from training_backend.sampling.vllm_server import OwnEngine
from training_backend.vllm_client import Completion

_ENDPOINT = Endpoint("http://127.0.0.1:5555", "not-on-a-command-line")
_ENGINE = OwnEngine(Path("model"), 12, 512, on_gpu=False, log=Path("vllm.log"))
_RULES = Rules(0.7, frozenset({9, 2}))


def _option(engine: OwnEngine, name: str) -> str | None:
    command = engine.command(_ENDPOINT)
    flag = f"--{name}"
    return command[command.index(flag) + 1] if flag in command else None


def test_the_key_is_not_on_the_command_line() -> None:
    assert not any(_ENDPOINT.api_key in word for word in _ENGINE.command(_ENDPOINT))


def test_two_adapters_of_the_runs_rank_have_room_in_the_runs_context() -> None:
    assert _option(_ENGINE, "max-loras") == "2"
    assert _option(_ENGINE, "max-lora-rank") == "16"
    assert _option(_ENGINE, "max-model-len") == "512"


def test_tokens_are_told_as_they_were_drawn() -> None:
    assert _option(_ENGINE, "logprobs-mode") == "processed_logprobs"


def test_on_a_gpu_the_trainer_keeps_its_share() -> None:
    assert _option(replace(_ENGINE, on_gpu=True), "gpu-memory-utilization") == "0.4"
    assert _option(_ENGINE, "gpu-memory-utilization") is None


def test_a_request_carries_its_own_seed_and_every_stop() -> None:
    rules = replace(_RULES, stop_sequences=("###",))
    assert request_options(Request((1, 2), 77, 30), rules) == {
        "max_tokens": 30,
        "temperature": 0.7,
        "seed": 77,
        "stop_token_ids": [2, 9],
        "stop": ["###"],
        "include_stop_str_in_output": True,
    }


@pytest.mark.parametrize(
    ("table", "asked"),
    [
        ({"regex": "[0-9]+"}, {"regex": "[0-9]+"}),
        ({"choice": ["a", "b"]}, {"choice": ("a", "b")}),
        ({"json_object": True}, {"json_object": True}),
        (
            {"json": {"type": "object"}, "disable_any_whitespace": True},
            {"json": {"type": "object"}, "disable_any_whitespace": True},
        ),
    ],
)
def test_shapes_are_named_as_vllm_names_them(
    table: dict[str, object], asked: dict[str, object]
) -> None:
    assert StructuredOutputs.model_validate(table).for_vllm() == asked


@pytest.mark.parametrize(
    ("finish", "meant"), [("stop", Finish.STOP), ("length", Finish.LENGTH), ("abort", None)]
)
def test_only_an_answer_that_came_to_an_end_is_one(finish: str, meant: Finish | None) -> None:
    answer = to_sampled(Completion((4,), (-0.5,), finish), _RULES)
    assert (answer.finish if isinstance(answer, Sampled) else None) is meant
