"""A hub of models on loopback, for the children that fetch from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_model
from tests.fake_hugging_face import FakeHuggingFace, hugging_face


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of a model that breaks no rule."""
    return tiny_model.build(tmp_path / "tiny")


@pytest.fixture
def hugging_face_hub(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHuggingFace]:
    """A hub with the model `acme/tiny`; this process is as offline as a training process is."""
    with hugging_face() as hub:
        hub.add("acme/tiny", tiny)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub
