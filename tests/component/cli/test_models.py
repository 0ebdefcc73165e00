"""`freesolo models`: what is in the catalog, what joins it, what leaves it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny_model
from tests.component.cli.conftest import Freesolo
from tests.fake_hugging_face import COMMIT, FakeHuggingFace, hugging_face
from tests.hubs import LiveHub


@pytest.fixture
def with_folders(
    start_live_hub: Callable[..., LiveHub], monkeypatch: pytest.MonkeyPatch, freesolo: Freesolo
) -> LiveHub:
    """A hub, as `freesolo up` starts it, that takes models by their path."""
    hub = start_live_hub(model_paths=True)
    monkeypatch.setenv("FREESOLO_HUB_URL", hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", hub.user_key)
    return hub


@pytest.fixture
def hugging_face_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHuggingFace]:
    """A Hugging Face hub with the model `acme/tiny`."""
    with hugging_face() as hub:
        hub.add("acme/tiny", tiny_model.build(tmp_path / "tiny"))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def test_a_folder_joins_the_catalog_and_leaves_it(
    freesolo: Freesolo, with_folders: LiveHub
) -> None:
    folder = tiny_model.build(Path("tiny"))

    options = ("--price-input", "0.036", "--context", 512, "--tool-parser", "hermes")
    added = freesolo("models", "add", folder, *options)

    assert added.code == 0, added.err
    assert "stays as it was generated" in added.out
    assert str(folder.resolve()) in added.err
    assert "--set model=local/tiny" in added.err
    (model,) = (each for each in _listed(freesolo) if each["added"])
    assert (model["id"], model["context"], model["price_input"]) == ("local/tiny", 512, 36_000)
    assert (model["tool_parser"], model["reasoning_parser"]) == ("hermes", None)
    assert model["source"] == {"kind": "path", "path": str(folder.resolve())}
    assert str(model["revision"]).startswith("sha256-")
    assert model["algorithms"] == ["sft", "grpo", "opd"]
    table = freesolo("models").out
    assert str(folder.resolve()) in table
    assert "0.0360" in table

    assert freesolo("models", "rm", "local/tiny", "--json").code == 2
    assert freesolo("models", "rm", "local/tiny", "--yes", "--json").document == {
        "id": "local/tiny"
    }
    assert not [each for each in _listed(freesolo) if each["added"]]


def test_a_parser_that_can_be_none_of_vllm_s_is_refused(
    freesolo: Freesolo, with_folders: LiveHub
) -> None:
    folder = tiny_model.build(Path("tiny"))
    refused = freesolo("models", "add", folder, "--context", 512, "--tool-parser", "--port")
    assert refused.code == 2
    assert "tool_parser" in refused.err


def test_an_id_of_the_hugging_face_hub_is_pinned_to_the_commit_it_means_now(
    freesolo: Freesolo, with_hub: LiveHub, hugging_face_hub: FakeHuggingFace
) -> None:
    added = freesolo("models", "add", "acme/tiny", "--id", "local/mine", "--json")
    assert added.document["ok"], added.err
    assert added.document["model"]["revision"] == COMMIT
    assert {check["verdict"] for check in added.document["checks"]} == {"ok"}
    (model,) = (each for each in _listed(freesolo) if each["added"])
    assert (model["id"], model["source"]) == ("local/mine", {"kind": "hub", "repo": "acme/tiny"})


def test_a_template_that_breaks_a_rule_keeps_a_model_out(
    freesolo: Freesolo, with_folders: LiveHub
) -> None:
    config = tiny_model.build(Path("tiny")) / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": "mute"}))

    refused = freesolo("models", "add", "tiny", "--json")

    assert (refused.code, refused.error["code"]) == (2, "invalid_base_model")
    assert not refused.document["ok"]
    assert refused.document["model"] is None
    assert "chat_template.jinja" in refused.error["hint"]
    assert not [each for each in _listed(freesolo) if each["added"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "neither a folder here nor an id"),
        ([".", "--revision", "main"], "is a folder"),
        (["acme/tiny", "--price-train", "cheap"], "no amount of dollars"),
        (["acme/tiny", "--price-train", "-1"], "no price"),
        (["acme/tiny", "--price-train", "nan"], "no price"),
        (["acme/tiny", "--price-train", "0.0000001"], "no price"),
        (["acme/tiny", "--max-rank", "9999"], "9999"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_looked_at(
    freesolo: Freesolo, with_hub: LiveHub, arguments: list[str], words: str
) -> None:
    refused = freesolo("models", "add", *arguments, "--json")
    assert refused.code == 2
    assert words in refused.error["message"]


def test_a_model_that_the_hugging_face_hub_does_not_have_is_named(
    freesolo: Freesolo, with_hub: LiveHub, hugging_face_hub: FakeHuggingFace
) -> None:
    refused = freesolo("models", "add", "acme/none", "--json")
    assert (refused.code, refused.error["code"]) == (3, "model_not_found")
    assert "acme/none" in refused.error["message"]


def _listed(freesolo: Freesolo) -> list[dict[str, object]]:
    found: list[dict[str, object]] = freesolo("models", "--json").document["models"]
    return found
