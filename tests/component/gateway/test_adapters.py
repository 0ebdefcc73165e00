"""Which adapters are refused before an engine sees them."""

from pathlib import Path

import pytest

from freesolo.domain.catalog import BaseModelEntry
from freesolo.errors import InvalidAdapter
from serving_backend.adapters import check_adapter
from tests import tiny_adapter, tiny_model


@pytest.fixture
def base_model(tmp_path: Path) -> BaseModelEntry:
    return tiny_model.catalog_entry(tmp_path)


def test_an_adapter_of_the_right_model_passes(tmp_path: Path, base_model: BaseModelEntry) -> None:
    check_adapter(tiny_adapter.build(tmp_path / "a"), base_model)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"base_model_name_or_path": "other/model"}, "belongs to 'other/model'"),
        ({"r": 64}, "rank 64"),
        ({"rank_pattern": {"q_proj": 64}}, "rank 64"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"peft_type": "IA3"}, "peft_type"),
    ],
)
def test_what_the_engine_cannot_serve_is_named(
    tmp_path: Path, base_model: BaseModelEntry, config: dict[str, object], reason: str
) -> None:
    folder = tiny_adapter.build(tmp_path / "a", config=config)
    with pytest.raises(InvalidAdapter, match=reason):
        check_adapter(folder, base_model)


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\x05\x00\x00\x00\x00\x00\x00\x00not{}"])
def test_weights_that_are_no_tensors_are_refused(
    tmp_path: Path, base_model: BaseModelEntry, content: bytes
) -> None:
    folder = tiny_adapter.build(tmp_path / "a")
    (folder / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(InvalidAdapter, match="no tensors"):
        check_adapter(folder, base_model)


def test_weights_cut_short_are_refused(tmp_path: Path, base_model: BaseModelEntry) -> None:
    folder = tiny_adapter.build(tmp_path / "a")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InvalidAdapter, match="no tensors"):
        check_adapter(folder, base_model)


def test_a_folder_without_a_config_is_refused(tmp_path: Path, base_model: BaseModelEntry) -> None:
    with pytest.raises(InvalidAdapter, match="adapter_config"):
        check_adapter(tmp_path, base_model)
