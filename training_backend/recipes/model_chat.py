"""How the chats of a base model are written, read from its folder."""

from pathlib import Path

from transformers import AutoTokenizer, GenerationConfig

from training_backend.chat import ChatFormat


def chat_format(model_folder: Path, *, thinking: bool) -> ChatFormat:
    """Return how this model's chats are written, with every token that ends one of its turns."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    stops = {tokenizer.eos_token_id}
    if (model_folder / "generation_config.json").is_file():
        configured = GenerationConfig.from_pretrained(model_folder).eos_token_id
        stops |= set(configured if isinstance(configured, list) else [configured])
    return ChatFormat(tokenizer, stop_ids=stops - {None}, thinking=thinking)
