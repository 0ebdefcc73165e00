"""The config: defaults, overrides, and every rule between its keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.train_spec import (
    check_train_spec,
    completion_tokens,
    context_tokens,
    job_secrets,
    parse_document,
    parse_train_spec,
    planned_steps,
    save_due,
    total_steps,
)
from freesolo.domain.train_tables import SftTable
from freesolo.errors import InvalidTrainSpec

CONFIG = """
model = "HuggingFaceTB/SmolLM2-135M-Instruct"
[environment]
id = "local/math"
[train]
max_steps = 40
"""


def spec_with(**train: Any) -> Any:  # noqa: ANN401 - whatever the config may hold
    return parse_train_spec(
        {"model": SMOLLM2_135M.id, "environment": {"id": "local/math"}, "train": train}
    )


def rollout_spec(algorithm: str, *, thinking: bool = False, **train: Any) -> Any:  # noqa: ANN401
    return parse_train_spec(
        {
            "model": SMOLLM2_135M.id,
            "algorithm": algorithm,
            "thinking": thinking,
            "environment": {"id": "local/math"},
            "train": train,
        }
    )


def test_a_short_config_gets_the_documented_defaults() -> None:
    spec = parse_train_spec(parse_document(CONFIG))
    assert (spec.algorithm, spec.seed, spec.train.lora_rank, spec.train.epochs) == (
        "sft",
        42,
        32,
        2,
    )


@pytest.mark.parametrize(
    ("algorithm", "train", "expected"),
    [
        ("sft", {}, (2.0, 32, 1e-4, 32)),
        ("grpo", {}, (1.0, 64, 1e-5, 32)),
        ("opd", {"teacher_model": "acme/large"}, (1.0, 8, 1e-5, 32)),
    ],
)
def test_each_algorithm_has_defaults_of_its_own(
    algorithm: str, train: dict[str, Any], expected: tuple[float, ...]
) -> None:
    table = rollout_spec(algorithm, **train).train
    assert (table.epochs, table.batch_size, table.learning_rate, table.lora_rank) == expected


@pytest.mark.parametrize(
    ("algorithm", "train", "thinking", "tokens"),
    [
        ("grpo", {}, False, 320),
        ("grpo", {}, True, 1536),
        ("opd", {"teacher_model": "acme/large"}, False, 512),
        ("grpo", {"max_completion_tokens": 9}, True, 9),
    ],
)
def test_an_answer_may_be_longer_where_the_model_thinks(
    algorithm: str, train: dict[str, Any], *, thinking: bool, tokens: int
) -> None:
    assert completion_tokens(rollout_spec(algorithm, thinking=thinking, **train)) == tokens


def test_a_spec_survives_its_own_json() -> None:
    spec = rollout_spec(
        "grpo",
        stop_sequences="END",
        structured_outputs='{"json": {"type": "object"}}',
        init_from_adapter="run-ab12cd34ef/step-3",
    )
    assert spec.train.lora_rank is None
    assert spec.train.stop_sequences == ("END",)
    assert spec.train.structured_outputs.json_schema == {"type": "object"}
    assert parse_train_spec(spec.model_dump(mode="json")) == spec


def test_overrides_are_read_as_toml_and_else_as_text() -> None:
    document = parse_document(
        CONFIG, ["train.max_steps=3", "model=org/name", "environment.params.split=test", "seed=1"]
    )
    assert document["train"]["max_steps"] == 3
    assert document["model"] == "org/name"
    assert document["environment"]["params"] == {"split": "test"}
    assert document["seed"] == 1


@pytest.mark.parametrize("secrets", [["sk-12"], "sk-12", {"JUDGE_API_KEY": "sk-12"}])
def test_a_value_where_the_name_of_a_secret_belongs_is_not_repeated(secrets: object) -> None:
    environment = {"id": "local/math", "secrets": secrets}
    with pytest.raises(InvalidTrainSpec, match="secrets") as refusal:
        parse_train_spec({"model": SMOLLM2_135M.id, "environment": environment})
    assert "sk-12" not in str(refusal.value.to_wire())


@pytest.mark.parametrize("override", ["max_steps", "=3", "model.x=1"])
def test_a_wrong_override_is_refused(override: str) -> None:
    with pytest.raises(InvalidTrainSpec, match="is not"):
        parse_document(CONFIG, [override])


def test_the_older_spelling_of_batch_size_is_accepted() -> None:
    assert spec_with(prompts_per_step=3).train.batch_size == 3


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ({"train": {"learningrate": 1}}, "train.learningrate", "Did you mean `learning_rate`"),
        ({"modle": "x"}, "modle", "Did you mean `model`"),
        ({"train": {"max_steps": -1}}, "train.max_steps", "-1"),
        ({"train": {"save_at_steps": [3, 2]}}, "train.save_at_steps", "rise"),
        ({"environment": {"id": "math"}}, "environment.id", "math"),
        ({"algorithm": "gpro"}, "algorithm", "Did you mean `grpo`"),
        ({"algorithm": 3}, "algorithm", "3 is no algorithm"),
        ({"train": {"group_size": 4}}, "train.group_size", "Unknown key"),
        ({"algorithm": "grpo", "train": {"group_size": 1}}, "train.group_size", "1"),
        ({"algorithm": "opd"}, "train", "missing"),
        ({"train": {"init_from_adapter": "mine"}}, "train.init_from_adapter", "mine"),
        (
            {"train": {"init_from_adapter": "run-ab12cd34ef", "lora_rank": 8}},
            "train",
            "`lora_rank` is that of the adapter 'run-ab12cd34ef'",
        ),
        (
            {"algorithm": "grpo", "train": {"batch_size": 1024, "group_size": 8}},
            "train",
            "8192",
        ),
        (
            {"algorithm": "grpo", "train": {"structured_outputs": {"regex": "a", "choice": ["b"]}}},
            "train.structured_outputs",
            "exactly one",
        ),
        (
            {"algorithm": "grpo", "train": {"structured_outputs": "{"}},
            "train.structured_outputs",
            "no JSON",
        ),
        ({"project": "x"}, "project", "x"),
    ],
)
def test_a_wrong_key_or_value_is_named(document: dict[str, Any], path: str, words: str) -> None:
    whole = {"model": "m", "environment": {"id": "local/math"}, **document}
    with pytest.raises(InvalidTrainSpec) as refusal:
        parse_train_spec(whole)
    assert path in [problem.path for problem in refusal.value.problems]
    assert words in "".join(problem.message for problem in refusal.value.problems)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidTrainSpec) as refusal:
        parse_train_spec({"modle": "x", "train": {"batch_size": 0}})
    assert len(refusal.value.problems) == 4


@pytest.mark.parametrize(
    ("train", "path"),
    [
        ({"lora_rank": 64}, "train.lora_rank"),
        ({"max_context_tokens": 10**6}, "train.max_context_tokens"),
        ({"max_steps": 5, "save_at_steps": [9]}, "train.save_at_steps"),
        (
            {"epochs": 1, "max_examples": 80, "batch_size": 8, "save_at_steps": [11]},
            "train.save_at_steps",
        ),
    ],
)
def test_what_the_model_cannot_do_is_refused(train: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidTrainSpec) as refusal:
        check_train_spec(spec_with(**train), SMOLLM2_135M)
    assert [problem.path for problem in refusal.value.problems] == [path]


@pytest.mark.parametrize(
    ("train", "path"),
    [
        ({"max_context_tokens": 100}, "train.max_completion_tokens"),
        ({"thinking_length_penalty_coef": 0.1}, "train.thinking_length_penalty_coef"),
    ],
)
def test_rollouts_that_cannot_be_are_refused(train: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidTrainSpec) as refusal:
        check_train_spec(rollout_spec("grpo", **train), SMOLLM2_135M)
    assert [problem.path for problem in refusal.value.problems] == [path]


def test_a_good_spec_passes() -> None:
    check_train_spec(spec_with(max_steps=40, save_at_steps=[20, 40]), SMOLLM2_135M)


@given(examples=st.integers(1, 5000), batch=st.integers(1, 64), epochs=st.floats(0.1, 10))
def test_epochs_are_rounded_up_to_whole_steps(examples: int, batch: int, epochs: float) -> None:
    steps = total_steps(SftTable(epochs=epochs, batch_size=batch), examples)
    assert steps >= 1
    assert steps * batch >= examples * epochs - 1e-6
    assert (steps - 1) * batch < examples * epochs or steps == 1


def test_a_save_after_the_last_step_is_refused_once_the_rows_are_known() -> None:
    train = SftTable(epochs=2, batch_size=8, save_at_steps=(5, 500))
    check_train_spec(spec_with(epochs=2, batch_size=8, save_at_steps=[5, 500]), SMOLLM2_135M)
    assert planned_steps(train, 2000) == 500

    with pytest.raises(InvalidTrainSpec, match="Step 500 lies after the last one, 10") as refusal:
        planned_steps(train, 40)

    assert [problem.path for problem in refusal.value.problems] == ["train.save_at_steps"]
    assert "train.epochs" in str(refusal.value.hint)


def test_max_steps_is_exact() -> None:
    assert total_steps(SftTable(max_steps=7, epochs=100), 1000) == 7


def test_saves_fall_where_they_were_asked_for_and_at_the_end() -> None:
    def saved(table: SftTable) -> list[int]:
        return [step for step in range(1, 11) if save_due(table, step, 10)]

    assert saved(SftTable(save_every=4)) == [4, 8, 10]
    assert saved(SftTable(save_every=4, save_at_steps=(3,))) == [3, 10]
    assert saved(SftTable(save_every=0)) == [10]


def test_the_context_is_bounded_by_the_model() -> None:
    assert context_tokens(SftTable(), SMOLLM2_135M) == 2048
    assert context_tokens(SftTable(max_context_tokens=99), SMOLLM2_135M) == 99


@pytest.mark.parametrize("value", ["nan", "inf", "[1.0, -inf]"])
def test_a_parameter_that_json_cannot_carry_is_refused(value: str) -> None:
    document = parse_document(CONFIG, [f"environment.params.x={value}"])
    with pytest.raises(InvalidTrainSpec, match=r"environment\.params\.x"):
        parse_train_spec(document)


def test_a_tracker_gets_its_key_and_a_config_without_one_none() -> None:
    document: dict[str, Any] = {"model": SMOLLM2_135M.id, "environment": {"id": "local/math"}}
    assert job_secrets(parse_train_spec(document)) == ()
    assert job_secrets(parse_train_spec(document | {"trackio": {"project": "math"}})) == ()
    spec = parse_train_spec(document | {"wandb": {"project": "math", "run_name": "first"}})
    assert job_secrets(spec) == ("WANDB_API_KEY",)


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"wandb": {}}, "wandb.project"),
        ({"wandb": {"project": ""}}, "wandb.project"),
        ({"trackio": {"project": "math", "name": "first"}}, "trackio.name"),
        ({"wandb": {"project": "math", "api_key": "no"}}, "wandb.api_key"),
    ],
)
def test_a_tracker_s_table_is_checked(table: dict[str, Any], path: str) -> None:
    document = {"model": SMOLLM2_135M.id, "environment": {"id": "local/math"}, **table}
    with pytest.raises(InvalidTrainSpec) as refused:
        parse_train_spec(document)
    assert refused.value.problems[0].path == path


def test_more_devices_than_a_run_is_trained_on_are_refused() -> None:
    document = {"model": SMOLLM2_135M.id, "environment": {"id": "local/math"}}
    assert parse_train_spec({**document, "gpu": {"count": 1}}).gpu.count == 1
    with pytest.raises(InvalidTrainSpec, match="so 4 would be reserved and not used") as refusal:
        parse_train_spec({**document, "gpu": {"count": 4}})
    assert refusal.value.problems[0].path == "gpu.count"


def test_an_environment_may_take_as_long_for_a_call_as_it_is_given() -> None:
    document = {"model": SMOLLM2_135M.id, "environment": {"id": "local/math"}}
    assert parse_train_spec(document).environment.timeout_seconds == 60
    document["environment"] = {"id": "local/math", "timeout_seconds": 300}
    assert parse_train_spec(document).environment.timeout_seconds == 300


@pytest.mark.parametrize("seconds", [0, 0.5, 3601, "soon"])
def test_no_call_of_an_environment_is_waited_for_without_end(seconds: object) -> None:
    with pytest.raises(InvalidTrainSpec, match=r"environment\.timeout_seconds"):
        parse_train_spec(
            {
                "model": SMOLLM2_135M.id,
                "environment": {"id": "local/math", "timeout_seconds": seconds},
            }
        )
