"""litellm, as its users put it before us: `openai/` and `hosted_vllm/`, usage, cost, errors."""

import json
from pathlib import Path

from tests.contract.clients.conftest import FOLDER, Gateway


def test_litellm_is_served_counted_and_told_what_is_wrong(gateway: Gateway, python: Path) -> None:
    # It would fetch the prices of the day from the internet.
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    said = gateway.run(python, FOLDER / "ask_litellm.py", POOR=gateway.poor, **local)
    told = json.loads(said.splitlines()[-1])

    assert told["text"]
    assert told["finish"] == "length"
    for same in ("streamed", "as_vllm", "asynchronous"):
        assert told[same] == told["text"]
    assert told["base"] != told["text"]
    usage = told["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["prompt_tokens_details"]["cached_tokens"] is not None
    assert told["streamed_usage"]["completion_tokens"] == 12
    assert told["streamed_usage"]["prompt_tokens"] == usage["prompt_tokens"]
    assert told["cost"] == (usage["prompt_tokens"] + 12) * 1e-6
    assert told["errors"] == {
        "401": ["AuthenticationError", 401],
        "402": ["APIError", 402],
        "404": ["NotFoundError", 404],
        "400": ["BadRequestError", 400],
        "too long": ["ContextWindowExceededError", 400],
    }
