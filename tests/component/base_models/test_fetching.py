"""Models of the Hugging Face hub, fetched into the cache by a process of its own."""

import json
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from freesolo.base_models.store import local_path, present
from freesolo.domain.catalog import BaseModelEntry, HubSource
from freesolo.errors import (
    Forbidden,
    FreesoloError,
    InvalidBaseModel,
    ModelNotFound,
    Unavailable,
)
from tests.fake_hugging_face import COMMIT, FakeHuggingFace
from tests.ports import free_port

WEIGHTS = "model.safetensors"


def entry(repo: str = "acme/tiny", commit: str = COMMIT) -> BaseModelEntry:
    """Return the catalog entry of a repository."""
    return BaseModelEntry(
        id=repo,
        revision=commit,
        source=HubSource(repo=repo),
        parameters=90_624,
        context=1024,
        max_rank=16,
    )


def test_a_model_is_fetched_once_also_where_training_is_offline(
    hugging_face_hub: FakeHuggingFace, tiny: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    assert present(entry(), tmp_path) is None

    folder = local_path(entry(), tmp_path, tell=told.append)

    assert (folder / WEIGHTS).read_bytes() == (tiny / WEIGHTS).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in tiny.iterdir()}
    assert len(told) == 1
    assert present(entry(), tmp_path) == folder
    hugging_face_hub.asked.clear()
    assert local_path(entry(), tmp_path, tell=told.append) == folder
    assert (hugging_face_hub.asked, len(told)) == ([], 1)


def test_nothing_is_fetched_that_runs_or_is_there_twice(
    hugging_face_hub: FakeHuggingFace, tiny: Path, tmp_path: Path
) -> None:
    others = ("pytorch_model.bin", "modeling_tiny.py", "consolidated.safetensors", "README.md")
    hugging_face_hub.add("acme/tiny", tiny, **dict.fromkeys(others, b"harm"))

    folder = local_path(entry(), tmp_path)

    assert {path.name for path in folder.iterdir()} == {path.name for path in tiny.iterdir()}
    assert set(hugging_face_hub.fetched()).isdisjoint(others)


def test_a_fetch_that_broke_off_is_gone_on_with(
    hugging_face_hub: FakeHuggingFace, tiny: Path, tmp_path: Path
) -> None:
    # The client writes what it gets ten megabytes at a time.
    large = bytes(24 << 20)
    hugging_face_hub.add("acme/tiny", tiny, **{"more.safetensors": large})
    hugging_face_hub.breaks = {"more.safetensors": 21 << 20}

    folder = local_path(entry(), tmp_path)

    ranges = [
        each.range for each in hugging_face_hub.asked if each.path.endswith("more.safetensors")
    ]
    assert ranges[-1] == f"bytes={20 << 20}-"
    assert (folder / "more.safetensors").read_bytes() == large


def test_what_arrives_spoiled_is_never_used_and_fetched_again(
    hugging_face_hub: FakeHuggingFace, tmp_path: Path
) -> None:
    hugging_face_hub.spoiled = {WEIGHTS}
    with pytest.raises(Unavailable, match=f"{WEIGHTS} of acme/tiny did not arrive"):
        local_path(entry(), tmp_path)
    assert present(entry(), tmp_path) is None

    hugging_face_hub.spoiled.clear()
    hugging_face_hub.asked.clear()

    assert (local_path(entry(), tmp_path) / WEIGHTS).is_file()
    assert hugging_face_hub.fetched() == [WEIGHTS]


def test_a_hub_that_cannot_be_reached_is_named_with_the_ways_out(
    hugging_face_hub: FakeHuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    with pytest.raises(Unavailable, match=nobody) as raised:
        local_path(entry(), tmp_path)
    assert "HF_ENDPOINT" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("repo", "commit", "error", "words"),
    [
        ("acme/none", COMMIT, ModelNotFound, "no model 'acme/none'"),
        ("acme/tiny", "f" * 40, ModelNotFound, f"no revision '{'f' * 40}'"),
        ("acme/gated", COMMIT, Forbidden, "gated"),
        ("acme/pickled", COMMIT, InvalidBaseModel, "pickled"),
        ("acme/adapter", COMMIT, InvalidBaseModel, "no config.json"),
        ("acme/own-code", COMMIT, InvalidBaseModel, "'tiny_own'.*is not run"),
    ],
)
def test_what_cannot_be_fetched_is_said_in_words(
    hugging_face_hub: FakeHuggingFace,
    tiny: Path,
    tmp_path: Path,
    repo: str,
    commit: str,
    error: type[FreesoloError],
    words: str,
) -> None:
    own_code = json.dumps({"model_type": "tiny_own", "auto_map": {"AutoModel": "m.Tiny"}}).encode()
    hugging_face_hub.add("acme/gated", tiny)
    hugging_face_hub.gated = {"acme/gated"}
    hugging_face_hub.add("acme/own-code", tiny, **{"config.json": own_code})
    hugging_face_hub.repos["acme/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"harm"}
    hugging_face_hub.repos["acme/adapter"] = {"adapter_model.safetensors": b"delta"}

    with pytest.raises(error, match=words):
        local_path(entry(repo, commit), tmp_path)

    assert present(entry(repo, commit), tmp_path) is None


def test_a_hub_with_a_fault_is_tried_again_later(
    hugging_face_hub: FakeHuggingFace, tmp_path: Path
) -> None:
    hugging_face_hub.status = 501
    with pytest.raises(Unavailable, match="answered 501"):
        local_path(entry(), tmp_path)


def test_a_gated_model_comes_with_a_token_that_nobody_else_hears_of(
    hugging_face_hub: FakeHuggingFace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hugging_face_hub.gated = {"acme/tiny"}
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(Forbidden) as raised:
            local_path(entry(), tmp_path, hf_token=SecretStr("hf_bad_secret"))
        folder = local_path(entry(), tmp_path, hf_token=SecretStr("hf_good_secret"))
    assert (folder / WEIGHTS).is_file()
    assert "hf_" not in caplog.text
    assert "secret" not in f"{raised.value.message} {raised.value.hint}"
