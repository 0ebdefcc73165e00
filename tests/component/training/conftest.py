"""The tiny model in this process, in float32 so that what should be equal is."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

from tests import tiny_model
from training_backend.chat import ChatFormat
from training_backend.lora import with_adapter


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model."""
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerFast:
    """The tiny model's tokenizer."""
    return PreTrainedTokenizerFast.from_pretrained(tiny_folder)


@pytest.fixture
def chat(tokenizer: PreTrainedTokenizerFast) -> ChatFormat:
    """The tiny model's chats."""
    return ChatFormat(tokenizer, stop_ids=[tokenizer.eos_token_id], thinking=False)


@pytest.fixture
def policy(tiny_folder: Path) -> PeftModel:
    """The tiny model with an adapter that does something."""
    return make_policy(tiny_folder)


def make_policy(folder: Path) -> PeftModel:
    """Return a tiny model with an adapter that is far from zero."""
    set_seed(1)
    base = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    model = with_adapter(base, 4, warm_start=None)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model
