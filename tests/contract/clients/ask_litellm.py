"""What litellm makes of our answers, as one JSON document. It runs in an interpreter of its own."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import litellm

_TOLD = os.environ  # noqa: TID251 - the test tells it so
_GATEWAY, _KEY, _POOR = (_TOLD[name] for name in ("GATEWAY", "KEY", "POOR"))
_ADAPTER, _BASE = (_TOLD[name] for name in ("ADAPTER", "BASE"))
# Per token; what an operator would enter for us.
_PRICE = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}


def main() -> None:
    """Ask in every way that litellm has, and print what came."""
    litellm.suppress_debug_info = True
    whole = ask()
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    errors = {
        "401": error_of(lambda: ask(api_key="fslo_nobody")),
        "402": error_of(lambda: ask(model=f"openai/{_BASE}", api_key=_POOR)),
        "404": error_of(lambda: ask(model="openai/nobody")),
        "400": error_of(lambda: ask(temperature=3)),
        "too long": error_of(lambda: ask(messages=[{"role": "user", "content": "x" * 2000}])),
    }
    told = {
        "text": whole.choices[0].message.content,
        "finish": whole.choices[0].finish_reason,
        "usage": whole.usage.model_dump(),
        "cost": litellm.completion_cost(completion_response=whole, custom_cost_per_token=_PRICE),
        "streamed": "".join(
            chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices
        ),
        "streamed_usage": litellm.stream_chunk_builder(chunks).usage.model_dump(),
        "as_vllm": ask(model=f"hosted_vllm/{_ADAPTER}").choices[0].message.content,
        "base": ask(model=f"openai/{_BASE}").choices[0].message.content,
        "asynchronous": asyncio.run(_asynchronously()),
        "errors": errors,
    }
    sys.stdout.write(f"{json.dumps(told)}\n")


def ask(**options: object) -> Any:  # noqa: ANN401 - whatever litellm answers
    """Ask the adapter for a short answer, always the same one."""
    return litellm.completion(**_asked(**options))


async def _asynchronously() -> object:
    answer = await litellm.acompletion(**_asked())
    return answer.choices[0].message.content


def _asked(**options: object) -> dict[str, Any]:
    return {
        "model": f"openai/{_ADAPTER}",
        "api_base": _GATEWAY,
        "api_key": _KEY,
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "max_tokens": 12,
        "num_retries": 0,
        **options,
    }


def error_of(call: Callable[[], object]) -> list[object]:
    """Return the class and status of what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is is what is asked
        return [type(error).__name__, getattr(error, "status_code", None)]
    return ["nothing", None]


if __name__ == "__main__":
    main()
