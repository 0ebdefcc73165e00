"""Exported adapters where they are to be used: plain PEFT, plain vLLM, and merged in bfloat16."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from freesolo import engines, processes
from freesolo.base_models.children import ask
from freesolo.base_models.questions import Merged, Pair
from freesolo.base_models.store import local_path
from freesolo.cli.main import run as freesolo
from freesolo.domain.catalog import SMOLLM2_135M
from tests import tiny_model
from tests.component.gateway.conftest import Author
from tests.platforms import running_platform

PROMPT = "one apple, two pears,"
# By how much, as a share of the largest, logits may differ where each weight is rounded to bfloat16.
ROUNDING = 0.02


@pytest.fixture
def exported(
    tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of an adapter of the tiny model, which lies in `tiny` beside it."""
    with running_platform(tmp_path, migrated_sqlite) as platform:
        monkeypatch.setenv("FREESOLO_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("FREESOLO_HUB_URL", platform.hub.url)
        monkeypatch.setenv("FREESOLO_API_KEY", platform.hub.user_key)
        author = Author(platform.hub, tmp_path, base=tiny_model.MODEL_ID)
        run_id = author.saved_run()
        author.complete(run_id, author.adapter("adapter"))
        assert freesolo(["export", run_id, "--to", str(tmp_path / "exported")]) == 0
        yield tmp_path / "exported"


def test_plain_vllm_serves_an_exported_adapter_as_peft_does(exported: Path, tmp_path: Path) -> None:
    base = tmp_path / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(base)
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), exported
    )
    wanted = likeliest(adapted, tokenizer)
    assert wanted[0] != likeliest(adapted.unload(), tokenizer)[0]

    endpoint = engines.new_endpoint()
    record = tmp_path / "vllm.json"
    server = processes.start(
        engines.command(
            base,
            endpoint,
            flags=("enforce-eager",),
            options={
                "dtype": "float32",
                "max-model-len": 256,
                "max-num-seqs": 4,
                "max-lora-rank": 8,
                "lora-modules": f"tuned={exported}",
            },
        ),
        # Without our plugin.
        env=engines.environment(endpoint, kv_cache_gib=1) | {"VLLM_PLUGINS": ""},
        log=tmp_path / "vllm.log",
        record=record,
    )
    try:
        answer = complete(f"{endpoint.url}/v1/completions", endpoint.api_key)
    finally:
        processes.stop_recorded(record, grace=10)
        server.wait()

    token, logprob = wanted
    choice = answer["choices"][0]
    assert choice["token_ids"] == [token]
    assert choice["logprobs"]["token_logprobs"][0] == pytest.approx(logprob, abs=0.02)


def test_a_merged_language_model_answers_as_base_and_adapter_within_rounding(
    tmp_path: Path,
) -> None:
    base = local_path(SMOLLM2_135M, tmp_path / "cache")
    torch.manual_seed(0)
    # Computed in float32, so that what differs is the rounding of the merged weights alone.
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(tmp_path / "adapter")

    pair = Pair(base=base, adapter=tmp_path / "adapter", folder=tmp_path / "merged")
    told = ask("freesolo.base_models.merge", pair, Merged)

    assert (told.dtype, told.parameters) == ("bfloat16", SMOLLM2_135M.parameters)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    together, plain = logits(adapted, tokenizer), logits(adapted.unload(), tokenizer)
    largest = together.abs().max()
    assert (logits(merged, tokenizer) - together).abs().max() / largest < ROUNDING
    assert (plain - together).abs().max() / largest > 5 * ROUNDING


def logits(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    with torch.inference_mode():
        answered: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt")).logits
    return answered.float()


def likeliest(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> tuple[int, float]:
    """Return the token that is likeliest to follow, and its log-probability."""
    logprobs = logits(model, tokenizer)[0, -1].log_softmax(-1)
    best = int(logprobs.argmax())
    return best, float(logprobs[best])


def complete(url: str, key: str) -> dict[str, Any]:
    """Ask the adapter for one token, as soon as the server is up."""
    body: dict[str, Any] = {"model": "tuned", "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
    body |= {"logprobs": 1, "return_token_ids": True}
    headers = {"Authorization": f"Bearer {key}"}
    starting = Retrying(
        retry=retry_if_exception_type(httpx.ConnectError),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(400),
        reraise=True,
    )
    response = starting(lambda: httpx.post(url, json=body, headers=headers, timeout=120))
    response.raise_for_status()
    document: dict[str, Any] = json.loads(response.content)
    return document
