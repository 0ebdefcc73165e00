"""Convert a GGUF file to a `transformers` folder with bfloat16 weights.

Run as its own process, so that nobody else has to import torch::

    python -m freesolo.base_models.gguf WEIGHTS.gguf FOLDER
"""

import sys
from pathlib import Path


def convert(weights: Path, folder: Path) -> None:
    """Write the model and the tokenizer of the GGUF file `weights` to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"gguf_file": weights.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, **source)
    model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **source)
    # The weights are plain tensors now, but transformers still takes them for quantised ones and
    # refuses to save those.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    tokenizer.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
