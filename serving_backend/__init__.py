"""The gateway: an OpenAI-compatible front for vLLM engines, with keys, adapters and token counts."""
