"""The memory of a run: laws that hold for every config, and figures that were measured."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.catalog import SMOLLM2_135M, BaseModelEntry
from freesolo.domain.memory import Memory, RowLengths, knobs_that_fit, peak_memory
from freesolo.domain.train_spec import TrainSpec, check_train_spec, parse_train_spec

LENGTHS = RowLengths(prompt=60, answer=12, longest_prompt=100, longest_answer=30)
LARGER = BaseModelEntry(
    id="acme/larger",
    revision="1",
    source=SMOLLM2_135M.source,
    parameters=4_020_000_000,
    shape=SMOLLM2_135M.shape,
    context=32_768,
    max_rank=64,
)
LIMITS: dict[str, tuple[int, int]] = {
    "batch_size": (1, 64),
    "group_size": (2, 16),
    "max_completion_tokens": (1, 1000),
    "max_context_tokens": (1200, 8192),
    "lora_rank": (1, 32),
}


def spec_of(algorithm: str, **train: Any) -> TrainSpec:  # noqa: ANN401 - whatever the config may hold
    if algorithm == "opd":
        train["teacher_model"] = SMOLLM2_135M.id
    return parse_train_spec(
        {
            "model": SMOLLM2_135M.id,
            "algorithm": algorithm,
            "environment": {"id": "local/math"},
            "train": train,
        }
    )


def peak(
    spec: TrainSpec,
    lengths: RowLengths = LENGTHS,
    *,
    model: BaseModelEntry = SMOLLM2_135M,
    gpu: bool = False,
) -> Memory:
    memory = peak_memory(spec, model, lengths, gpu=gpu)
    assert memory is not None
    return memory


def tables(algorithm: str) -> st.SearchStrategy[dict[str, int]]:
    """All sizes of a table that an algorithm knows."""
    keys = set(LIMITS) - ({"group_size", "max_completion_tokens"} if algorithm == "sft" else set())
    return st.fixed_dictionaries({key: st.integers(*LIMITS[key]) for key in sorted(keys)})


algorithms = st.sampled_from(["sft", "grpo", "opd"])
row_lengths = st.builds(
    lambda prompt, answer, more, longer, turns: RowLengths(
        prompt, answer, prompt + more, answer + longer, turns
    ),
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.integers(1, 8),
)


@pytest.mark.parametrize(
    ("batch", "lengths", "rank", "gigabytes"),
    [
        # What `benchmarks/memory.py` measured on two cores.
        (8, RowLengths(54, 14, 54, 14), 16, 1.90),
        (4, RowLengths(224, 32, 224, 32), 16, 2.90),
        (1, RowLengths(896, 128, 896, 128), 16, 4.20),
    ],
)
def test_the_peak_is_within_a_tenth_of_what_was_measured(
    batch: int, lengths: RowLengths, rank: int, gigabytes: float
) -> None:
    spec = spec_of("sft", batch_size=batch, lora_rank=rank)
    assert peak(spec, lengths).total / 1e9 == pytest.approx(gigabytes, rel=0.1)


@pytest.mark.parametrize(
    ("prompts", "group", "prompt", "answer", "gigabytes"),
    [(4, 8, 60, 48, 3.18), (2, 8, 200, 100, 4.38), (2, 4, 60, 24, 1.71)],
)
def test_the_peak_of_groups_that_share_a_prompt_is_near_what_was_measured(
    prompts: int, group: int, prompt: int, answer: int, gigabytes: float
) -> None:
    train = {"batch_size": prompts, "group_size": group, "max_completion_tokens": answer}
    lengths = RowLengths(prompt, 1, prompt, 1)
    found = peak(spec_of("grpo", lora_rank=16, **train), lengths)
    assert found.total / 1e9 == pytest.approx(gigabytes, rel=0.1)


def test_on_an_accelerator_the_mask_between_siblings_is_counted() -> None:
    train = {"batch_size": 1, "max_completion_tokens": 1000, "max_context_tokens": 2000}
    groups = spec_of("grpo", group_size=32, **train)
    # The same tokens in a pass, but each rollout by itself.
    apart = spec_of("opd", **{**train, "group_size": 1, "batch_size": 32})
    more = peak(groups, gpu=True).activations - peak(apart, gpu=True).activations
    assert more > 4 * 16_384 * (16_384 - 1200)


@given(st.data(), algorithms, row_lengths, st.booleans())
def test_a_larger_key_never_takes_less(
    data: st.DataObject, algorithm: str, lengths: RowLengths, gpu: bool
) -> None:
    table = data.draw(tables(algorithm))
    key = data.draw(st.sampled_from(sorted(table)))
    raised = {**table, key: data.draw(st.integers(table[key], LIMITS[key][1]))}
    before = peak(spec_of(algorithm, **table), lengths, gpu=gpu)
    after = peak(spec_of(algorithm, **raised), lengths, gpu=gpu)
    assert before.total <= after.total


@given(st.data(), algorithms, row_lengths, st.booleans())
def test_longer_rows_never_take_less(
    data: st.DataObject, algorithm: str, lengths: RowLengths, gpu: bool
) -> None:
    spec = spec_of(algorithm, **data.draw(tables(algorithm)))
    more = data.draw(st.integers(0, 5000))
    longer = RowLengths(
        lengths.prompt,
        lengths.answer,
        lengths.longest_prompt + more,
        lengths.longest_answer + more,
        lengths.turns,
    )
    # Not part by part: of longer prompts a smaller share is scored.
    assert peak(spec, lengths, gpu=gpu).activations <= peak(spec, longer, gpu=gpu).activations
    assert peak(spec, lengths, gpu=gpu).rollouts <= peak(spec, longer, gpu=gpu).rollouts


@given(st.data(), algorithms, row_lengths, st.booleans())
def test_the_value_that_is_told_fits_is_valid_and_is_the_most_that_does(
    data: st.DataObject, algorithm: str, lengths: RowLengths, gpu: bool
) -> None:
    table = data.draw(tables(algorithm))
    spec = spec_of(algorithm, **table)
    room = data.draw(st.integers(1, peak(spec, lengths, gpu=gpu).total - 1))
    knobs = knobs_that_fit(spec, SMOLLM2_135M, lengths, gpu=gpu, room=room)
    told = {knob.key.removeprefix("train."): knob.fits for knob in knobs}
    assert all(knob.fits < knob.now for knob in knobs)
    if told:
        lowered = spec_of(algorithm, **{**table, **told})
        check_train_spec(lowered, SMOLLM2_135M)
        assert peak(lowered, lengths, gpu=gpu).total <= room
    if len(told) == 1:
        raised = {key: value + 1 for key, value in told.items()}
        assert peak(spec_of(algorithm, **{**table, **raised}), lengths, gpu=gpu).total > room


def test_long_rows_on_a_cpu_ask_for_a_shorter_context() -> None:
    spec = spec_of("sft", max_context_tokens=8192, batch_size=1)
    long = RowLengths(200, 50, 6000, 2000)
    assert peak(spec, long).largest == "activations"
    (knob,) = knobs_that_fit(spec, SMOLLM2_135M, long, gpu=False, room=8_000_000_000)
    assert (knob.key, knob.now) == ("train.max_context_tokens", 8192)


def test_many_rollouts_ask_for_fewer_prompts() -> None:
    spec = spec_of("grpo", batch_size=64, group_size=16)
    assert peak(spec).largest == "rollouts"
    (knob,) = knobs_that_fit(spec, SMOLLM2_135M, LENGTHS, gpu=False, room=5_000_000_000)
    assert knob.key == "train.batch_size"


def test_two_keys_are_lowered_where_one_is_not_enough() -> None:
    spec = spec_of("grpo", batch_size=64, group_size=8)
    knobs = knobs_that_fit(spec, SMOLLM2_135M, LENGTHS, gpu=False, room=2_600_000_000)
    assert len(knobs) == 2


def test_a_model_that_is_too_large_has_no_knob() -> None:
    spec = spec_of("sft")
    assert peak(spec, model=LARGER, gpu=True).largest == "weights"
    assert knobs_that_fit(spec, LARGER, LENGTHS, gpu=True, room=6_000_000_000) == ()


def test_a_key_that_is_enough_is_told_though_the_weights_are_larger() -> None:
    spec = spec_of("sft", lora_rank=32)
    room = peak(spec, model=LARGER, gpu=True).total - 1
    assert knobs_that_fit(spec, LARGER, LENGTHS, gpu=True, room=room)


def test_nothing_is_said_of_a_model_without_a_shape() -> None:
    shapeless = SMOLLM2_135M.model_copy(update={"shape": None})
    assert peak_memory(spec_of("sft"), shapeless, LENGTHS, gpu=False) is None
    assert knobs_that_fit(spec_of("sft"), shapeless, LENGTHS, gpu=False, room=1) == ()


@pytest.mark.parametrize("gpu", [True, False])
def test_rollouts_take_no_more_than_the_sampler_holds_at_once(gpu: bool) -> None:
    long = {"max_completion_tokens": 2000, "max_context_tokens": 4096}
    many = spec_of("grpo", batch_size=32, group_size=64, **long)
    more = spec_of("grpo", batch_size=64, group_size=64, **long)
    assert peak(many, gpu=gpu).rollouts == peak(more, gpu=gpu).rollouts < 40 << 30
