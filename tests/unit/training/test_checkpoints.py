import json

import pytest

from freesolo.errors import InvalidAdapter
from tests.tiny_model import MODEL_ID
from training_backend.checkpoints import canonical_config, check_adapter

GOOD = {
    "peft_type": "LORA",
    "base_model_name_or_path": MODEL_ID,
    "r": 4,
    "lora_alpha": 8,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}


def test_an_adapter_config_does_not_tell_where_and_in_which_order_peft_saw_things() -> None:
    config = {"r": 4, "base_model_name_or_path": "/models/tiny"}
    one = json.dumps(config | {"target_modules": ["q_proj", "v_proj"]})
    other = json.dumps({"target_modules": ["v_proj", "q_proj"]} | config)

    written = canonical_config(one, base_model=MODEL_ID)

    assert written == canonical_config(other, base_model=MODEL_ID)
    assert json.loads(written)["base_model_name_or_path"] == MODEL_ID


def test_an_adapter_as_a_run_writes_it_can_be_gone_on_from() -> None:
    check_adapter(json.dumps(GOOD), name="run-ab12cd34ef/step-2", base_model=MODEL_ID, rank=4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 8),
        ("lora_alpha", 4),
        ("base_model_name_or_path", "acme/other"),
        ("peft_type", "LOHA"),
        ("rank_pattern", {"q_proj": 2}),
        ("modules_to_save", ["lm_head"]),
    ],
)
def test_an_adapter_of_another_shape_is_refused_by_the_key(key: str, value: object) -> None:
    config = json.dumps(GOOD | {key: value})

    with pytest.raises(InvalidAdapter, match=f"run-ab12cd34ef/step-2 has {key} "):
        check_adapter(config, name="run-ab12cd34ef/step-2", base_model=MODEL_ID, rank=4)
