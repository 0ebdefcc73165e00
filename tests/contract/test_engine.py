"""What the gateway relies on in an engine: one suite, against the stand-in and against vLLM."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from freesolo.engines import Endpoint
from serving_backend.engine import BASE_MODEL, EngineProcess
from serving_backend.engine_journal import ANSWERS_HEADER, METER_HEADER, UNBILLED_PATH
from serving_backend.engine_residency import PATH as ADAPTERS
from serving_backend.formats import total_counts
from serving_backend.reconciliation import read_counters
from serving_backend.settings import ServingSettings
from serving_backend.usage import journal_of
from serving_backend.vllm_process import VllmProcess
from tests import tiny_adapter, tiny_model
from tests.fake_engine import FakeEngine, FakeProcess

_START_SECONDS = 300
# So long an answer is not over before it is ended, however late that comes on a busy machine.
_CONTEXT = 65_536
_LONG = 60_000
_PROMPTS = ("one apple", "two pears", "three plums", "four figs")


@dataclass
class Running:
    """An engine under test and the adapters it has loaded, by name."""

    http: httpx.Client
    adapters: dict[str, Path]
    logs: Path
    journal: Path

    def chat(self, model: str, prompt: str, **options: object) -> httpx.Response:
        return self.http.post(
            "/v1/chat/completions",
            json=_body(model, prompt, **options),
            headers={"X-Request-Id": f"{model}-{time.monotonic_ns()}"},
        )


@pytest.fixture(scope="module", params=["fake", "vllm"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("engine")
    process = _process(request.param, folder)
    try:
        endpoint = asyncio.run(process.start())
        _await_health(endpoint, process)
        with httpx.Client(
            base_url=endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            timeout=120,
        ) as http:
            adapters = {
                f"adapter-{seed}": tiny_adapter.build(folder / f"adapter-{seed}", seed=seed)
                for seed in range(4)
            }
            for name, path in adapters.items():
                assert _load(http, name, path).is_success
            journal = journal_of(folder / "usage", endpoint.life)
            yield Running(http, adapters, folder / "logs", journal)
    finally:
        asyncio.run(process.stop())


def test_an_adapter_loaded_twice_is_refused_as_already_loaded(engine: Running) -> None:
    name, path = next(iter(engine.adapters.items()))
    response = _load(engine.http, name, path)
    assert response.status_code == 400
    assert "already been loaded" in response.json()["error"]["message"]


def test_an_adapter_that_is_not_on_disk_is_not_found(engine: Running, tmp_path: Path) -> None:
    assert _load(engine.http, "missing", tmp_path / "missing").status_code == 404


def test_an_adapter_that_is_not_made_of_numbers_is_refused(engine: Running, tmp_path: Path) -> None:
    folder = tiny_adapter.build(tmp_path / "diverged", scale=float("nan"))
    response = _load(engine.http, "diverged", folder)
    assert response.is_error
    assert "not finite numbers" in response.text


def test_the_base_model_says_how_long_its_context_is(engine: Running) -> None:
    models = {model["id"]: model for model in engine.http.get("/v1/models").json()["data"]}
    assert models[BASE_MODEL]["max_model_len"] == _CONTEXT


def test_an_adapter_that_is_taken_out_is_gone_from_memory_and_by_name(
    engine: Running, tmp_path: Path
) -> None:
    path = tiny_adapter.build(tmp_path / "passing", seed=9)
    for _ in range(2):
        assert _load(engine.http, "passing", path).is_success
        assert engine.chat("passing", "hello").is_success
        assert "passing" in engine.http.get(ADAPTERS).json()["adapters"]

        assert engine.http.delete(f"{ADAPTERS}/passing").status_code == 204

        assert engine.http.get(ADAPTERS).json() == {
            "adapters": sorted(engine.adapters),
            "unnamed": 0,
        }
        assert engine.chat("passing", "hello").status_code == 404
        assert engine.http.delete(f"{ADAPTERS}/passing").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ADAPTERS),
        ("DELETE", f"{ADAPTERS}/x"),
        ("GET", UNBILLED_PATH),
        ("POST", "/v1/chat/completions"),
        ("POST", "/inference/v1/abort_requests"),
        # These vLLM leaves open.
        ("POST", "/invocations"),
        ("POST", "/tokenize"),
    ],
)
def test_nothing_is_done_for_who_lacks_the_engine_s_key(
    engine: Running, method: str, path: str
) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        refused = engine.http.request(method, path, headers=headers | {METER_HEADER: "{}"})
        assert refused.status_code == 401


def test_a_model_that_was_never_loaded_is_not_found(engine: Running) -> None:
    assert engine.chat("nobody", "hello").status_code == 404


def test_the_key_is_not_in_the_log(engine: Running) -> None:
    key = engine.http.headers["Authorization"].removeprefix("Bearer ")
    assert not any(key in log.read_text() for log in engine.logs.glob("*"))


def test_a_wrong_key_is_refused(engine: Running) -> None:
    response = engine.http.post(
        "/v1/chat/completions",
        json=_body(BASE_MODEL, "hello"),
        headers={"Authorization": "Bearer wrong"},
    )
    assert response.status_code == 401


def test_an_answer_names_its_model_and_counts_its_tokens(engine: Running) -> None:
    answer = engine.chat("adapter-0", "hello").json()
    assert answer["model"] == "adapter-0"
    assert answer["usage"]["prompt_tokens"] > 0
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["usage"]["prompt_tokens_details"] is not None


def test_a_stream_ends_with_its_token_counts(engine: Running) -> None:
    *chunks, usage, done = _stream(engine, BASE_MODEL, "hello", request_id="counts")
    assert done == "[DONE]"
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"]["completion_tokens"] > 0
    assert json.loads(chunks[0])["choices"][0]["delta"]["role"] == "assistant"


def test_a_text_is_continued_with_its_token_counts(engine: Running) -> None:
    body = _text_body("hello", logprobs=2)
    answer = engine.http.post("/v1/completions", json=body, headers={"X-Request-Id": "t"}).json()
    assert answer["id"] == "cmpl-t"
    assert answer["object"] == "text_completion"
    assert isinstance(answer["choices"][0]["text"], str)
    assert answer["choices"][0]["logprobs"].keys() == {
        "tokens",
        "token_logprobs",
        "top_logprobs",
        "text_offset",
    }
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["usage"]["prompt_tokens_details"] is not None


def test_a_continued_text_is_streamed_and_ends_with_its_token_counts(engine: Running) -> None:
    body = _text_body([5, 6, 7], stream=True, stream_options={"include_usage": True})
    body |= {"n": 2, "temperature": 1}
    headers = {"X-Request-Id": "streamed-text", ANSWERS_HEADER: "2"}
    with engine.http.stream("POST", "/v1/completions", json=body, headers=headers) as response:
        *chunks, usage, done = _data(response)
    assert done == "[DONE]"
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert {choice["index"] for choice in choices} == {0, 1}
    assert all(isinstance(choice["text"], str) for choice in choices)
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"]["completion_tokens"] > 0


def test_a_prompt_that_does_not_fit_is_refused_with_the_limit(engine: Running) -> None:
    response = engine.chat(BASE_MODEL, "word " * 20_000)
    assert response.status_code == 400
    assert "maximum context length" in response.json()["error"]["message"]


def test_an_aborted_stream_still_ends_with_its_token_counts(engine: Running) -> None:
    url = "/v1/chat/completions"
    body = _body(
        BASE_MODEL, "hold " * 20, stream=True, max_completion_tokens=_LONG, ignore_eos=True
    )
    with engine.http.stream(
        "POST", url, json=body, headers={"X-Request-Id": "to-abort"}
    ) as response:
        events = _data(response)
        next(events)
        engine.http.post(
            "/inference/v1/abort_requests", json={"request_ids": ["chatcmpl-to-abort"]}
        ).raise_for_status()
        *_, usage, done = events
    assert done == "[DONE]"
    assert json.loads(usage)["usage"]["completion_tokens"] < _LONG


def test_what_a_metered_answer_took_is_on_disk_before_it_ends(engine: Running) -> None:
    headers = _metered("whole")
    answer = engine.http.post(
        "/v1/chat/completions", json=_body(BASE_MODEL, "hello"), headers=headers
    ).json()
    assert _account(engine, "whole") == {"meter": {"org": "acme"}, "usage": answer["usage"]}

    body = _body("adapter-1", "hello", stream=True)
    with engine.http.stream(
        "POST", "/v1/chat/completions", json=body, headers=_metered("streamed")
    ) as response:
        told = [json.loads(event) for event in _data(response) if event != "[DONE]"]
    assert _account(engine, "streamed")["usage"] == told[-1]["usage"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_caller_who_hangs_up_ends_the_request_and_what_it_took_is_counted(
    engine: Running, path: str, *, stream: bool
) -> None:
    name = f"gone-{stream}-{path.rpartition('/')[2]}-{path.count('/')}"
    body = _body(BASE_MODEL, "hold " * 20, max_completion_tokens=_LONG, ignore_eos=True)
    if path == "/v1/completions":
        body = _text_body("hold " * 20, max_tokens=_LONG, ignore_eos=True)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    url = httpx.URL(str(engine.http.base_url))
    request = engine.http.build_request("POST", path, json=body, headers=_metered(name))
    with socket.create_connection((url.host, url.port)) as caller:
        lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
        caller.sendall("\r\n".join([*lines, "", ""]).encode() + request.content)
        _eventually(lambda: (engine.journal / "open" / name).exists())
        if stream:
            assert caller.recv(1)

    _eventually(lambda: (engine.journal / "closed" / name).exists())
    assert _account(engine, name)["usage"]["completion_tokens"] < _LONG
    _eventually(lambda: not (engine.journal / "open" / name).exists())


def test_a_request_that_is_refused_has_no_account(engine: Running) -> None:
    response = engine.http.post(
        "/v1/chat/completions",
        json=_body(BASE_MODEL, "word " * 20_000),
        headers=_metered("refused"),
    )
    assert response.status_code == 400
    _eventually(lambda: not list(engine.journal.glob("*/refused")))


def test_each_adapter_answers_in_its_own_way(engine: Running) -> None:
    fingerprints = {
        _first_token(engine, model, "hello") for model in (BASE_MODEL, *engine.adapters)
    }
    assert len(fingerprints) == 1 + len(engine.adapters)


def test_a_mixed_batch_answers_as_each_request_does_alone(engine: Running) -> None:
    requests = [(model, prompt) for prompt in _PROMPTS for model in (BASE_MODEL, *engine.adapters)]
    alone = [_first_token(engine, *request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: _first_token(engine, *request), requests))
    assert together == alone


def test_each_token_that_it_counted_is_in_an_account_or_nobody_is_billed_for_it(
    engine: Running,
) -> None:
    """The last test, so that it looks at all that the others have asked."""
    body = _body(BASE_MODEL, "several", n=3, temperature=1)
    several = _metered("several") | {ANSWERS_HEADER: "3"}
    engine.http.post("/v1/chat/completions", json=body, headers=several).raise_for_status()
    _eventually(lambda: not read_counters(engine.http.get("/metrics").text).requests)

    counted = read_counters(engine.http.get("/metrics").text).tokens
    unbilled = engine.http.get(UNBILLED_PATH).json()

    accounts = [json.loads(file.read_bytes()) for file in engine.journal.glob("closed/*")]
    billed = total_counts(account["usage"] for account in accounts)
    assert unbilled["prompt_tokens"] > 0
    assert counted.prompt == billed["prompt_tokens"] + unbilled["prompt_tokens"]
    assert counted.completion == billed["completion_tokens"] + unbilled["completion_tokens"]


def _process(kind: str, folder: Path) -> EngineProcess:
    if kind == "fake":
        stand_in = FakeEngine()
        stand_in.context = _CONTEXT
        return FakeProcess(stand_in, usage=folder / "usage")
    settings = ServingSettings(
        api_key="unused", data_dir=folder, cache_dir=folder / "cache", max_model_len=_CONTEXT
    )
    model = tiny_model.build(folder / "model", context=_CONTEXT)
    entry = tiny_model.catalog_entry(model).model_copy(update={"context": _CONTEXT})
    return VllmProcess(entry, settings)


def _await_health(endpoint: Endpoint, process: EngineProcess) -> None:
    def ask() -> None:
        assert process.is_alive(), "The engine stopped while it started."
        httpx.get(f"{endpoint.url}/health").raise_for_status()

    starting = retry_if_exception_type(httpx.HTTPError)
    Retrying(
        retry=starting, wait=wait_fixed(0.2), stop=stop_after_delay(_START_SECONDS), reraise=True
    )(ask)


def _load(http: httpx.Client, name: str, path: Path) -> httpx.Response:
    return http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path)})


def _body(model: str, prompt: str, **options: object) -> dict[str, object]:
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_completion_tokens": 8,
        "temperature": 0,
        "cache_salt": "org",
    }
    if options.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return body | options


def _text_body(prompt: str | list[int], **options: object) -> dict[str, object]:
    body: dict[str, object] = {"model": BASE_MODEL, "prompt": prompt, "max_tokens": 8}
    return body | {"temperature": 0, "cache_salt": "org"} | options


def _metered(name: str) -> dict[str, str]:
    return {"X-Request-Id": name, METER_HEADER: '{"org": "acme"}'}


def _account(engine: Running, name: str) -> dict[str, Any]:
    account: dict[str, Any] = json.loads((engine.journal / "closed" / name).read_text())
    return account


def _eventually(is_so: Callable[[], bool]) -> None:
    looking = Retrying(
        retry=retry_if_result(lambda so: not so), wait=wait_fixed(0.05), stop=stop_after_delay(60)
    )
    looking(is_so)


def _stream(engine: Running, model: str, prompt: str, *, request_id: str) -> list[str]:
    body = _body(model, prompt, stream=True)
    with engine.http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"X-Request-Id": request_id}
    ) as response:
        return list(_data(response))


def _data(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


def _first_token(engine: Running, model: str, prompt: str) -> str:
    answer: dict[str, Any] = engine.chat(model, prompt, logprobs=True, top_logprobs=5).json()
    return json.dumps(answer["choices"][0]["logprobs"]["content"][0], sort_keys=True)
