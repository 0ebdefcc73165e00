"""A tiny random Llama, made on the spot: hidden size 64, two layers, one token a byte.

It speaks ChatML as the embedded base model does, loads in `transformers`, PEFT, TRL and vLLM, and
is written without importing any of them, so a test gets it in a fraction of a second::

    python -m tests.tiny_model DIR
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from freesolo.domain.catalog import BaseModelEntry, LocalSource

MODEL_ID = "tests/tiny-llama"
REVISION = "random-1"

_HIDDEN = 64
_LAYERS = 2
# Two heads of 32: the smallest size that vLLM's attention on the CPU knows.
_HEADS = 2
_KV_HEADS = 1
_INNER = 128
_CONTEXT = 1024
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(folder: Path, *, context: int = _CONTEXT) -> Path:
    """Write the model to `folder` in the layout of `transformers` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder)
    _write_json(folder / "config.json", _config(vocabulary, context))
    _write_json(folder / "generation_config.json", {"eos_token_id": 2, "pad_token_id": 0})
    save_file(_weights(vocabulary), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def catalog_entry(folder: Path) -> BaseModelEntry:
    """Return the catalog entry of the model in `folder`."""
    return BaseModelEntry(
        id=MODEL_ID,
        revision=REVISION,
        source=LocalSource(path=str(folder)),
        parameters=94_000,
        context=_CONTEXT,
        max_rank=16,
    )


def catalog_toml(folder: Path) -> str:
    """Return a catalog file that offers the model in `folder`."""
    return (
        f'[[model]]\nid = "{MODEL_ID}"\nrevision = "{REVISION}"\n'
        f"parameters = 94000\ncontext = {_CONTEXT}\nmax_rank = 16\n"
        f"source = {{ kind = \"path\", path = '{folder}' }}\n"
    )


def _write_tokenizer(folder: Path) -> int:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*_SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": _CONTEXT,
            "clean_up_tokenization_spaces": False,
            "chat_template": _CHAT_TEMPLATE,
        },
    )
    return len(vocabulary)


def _config(vocabulary: int, context: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "head_dim": _HIDDEN // _HEADS,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": "float32",
    }


def _weights(vocabulary: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (0.05 * random.standard_normal((rows, columns))).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(vocabulary, _HIDDEN)}
    narrow = _HIDDEN // _HEADS * _KV_HEADS
    for layer in (f"model.layers.{index}" for index in range(_LAYERS)):
        weights[f"{layer}.self_attn.q_proj.weight"] = matrix(_HIDDEN, _HIDDEN)
        weights[f"{layer}.self_attn.k_proj.weight"] = matrix(narrow, _HIDDEN)
        weights[f"{layer}.self_attn.v_proj.weight"] = matrix(narrow, _HIDDEN)
        weights[f"{layer}.self_attn.o_proj.weight"] = matrix(_HIDDEN, _HIDDEN)
        weights[f"{layer}.mlp.gate_proj.weight"] = matrix(_INNER, _HIDDEN)
        weights[f"{layer}.mlp.up_proj.weight"] = matrix(_INNER, _HIDDEN)
        weights[f"{layer}.mlp.down_proj.weight"] = matrix(_HIDDEN, _INNER)
        weights[f"{layer}.input_layernorm.weight"] = np.ones(_HIDDEN, np.float32)
        weights[f"{layer}.post_attention_layernorm.weight"] = np.ones(_HIDDEN, np.float32)
    weights["model.norm.weight"] = np.ones(_HIDDEN, np.float32)
    return weights


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
