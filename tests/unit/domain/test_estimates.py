"""Estimates: what is counted, what it costs, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.devices import Device
from freesolo.domain.estimates import (
    Estimate,
    Rows,
    Tokens,
    estimate,
    refuse_misfit,
    require_room,
)
from freesolo.domain.memory import RowLengths
from freesolo.domain.throughput import anchored
from freesolo.domain.train_spec import TrainSpec, parse_train_spec
from freesolo.errors import InvalidTrainSpec, LimitExceeded

CPU = Device("cpu-2", memory=24 * 10**9)
ROWS = Rows(100, RowLengths(60, 12, 100, 30), known=True)


def spec_of(algorithm: str = "sft", **train: Any) -> TrainSpec:  # noqa: ANN401
    return parse_train_spec(
        {
            "model": SMOLLM2_135M.id,
            "algorithm": algorithm,
            "environment": {"id": "local/math"},
            "train": train,
        }
    )


def estimated(spec: TrainSpec, rows: Rows = ROWS, device: Device = CPU) -> Estimate:
    return estimate(spec, SMOLLM2_135M, rows, device, anchored(device, SMOLLM2_135M))


def test_the_tokens_of_sft_are_those_of_its_rows() -> None:
    found = estimated(spec_of(batch_size=10, epochs=2))
    assert (found.examples, found.steps) == (100, 20)
    assert found.tokens == Tokens(prompt=200 * 60, sampled=0, trained=200 * 72)


def test_the_tokens_of_grpo_are_those_of_its_rollouts() -> None:
    spec = spec_of("grpo", max_steps=3, batch_size=2, group_size=4, max_completion_tokens=40)
    found = estimated(spec)
    assert found.tokens == Tokens(prompt=6 * 60, sampled=24 * 20, trained=6 * 60 + 24 * 20)


def test_rows_that_are_longer_than_the_context_count_no_more_than_it() -> None:
    rows = replace(ROWS, lengths=RowLengths(900, 300, 900, 300))
    found = estimated(spec_of(max_steps=1, batch_size=1, max_context_tokens=500), rows)
    assert found.tokens == Tokens(prompt=500, sampled=0, trained=500)


def test_only_as_many_examples_as_the_config_takes_are_counted() -> None:
    assert estimated(spec_of(max_examples=10, batch_size=10, epochs=1)).steps == 1
    assert estimated(spec_of(max_examples=1000, batch_size=10, epochs=1)).steps == 10


def test_the_price_is_tokens_times_what_the_catalog_asks() -> None:
    sft = estimated(spec_of(batch_size=10, epochs=2)).price
    assert (sft.trained, sft.sampled, sft.total) == (14_400 * 4_800, 0, 14_400 * 4_800)
    assert sft.most == sft.total
    grpo = estimated(
        spec_of("grpo", max_steps=3, batch_size=2, group_size=4, max_completion_tokens=40)
    ).price
    assert (grpo.trained, grpo.sampled) == ((6 * 60 + 24 * 20) * 4_800, 24 * 20 * 9_600)
    assert grpo.most == (6 * 60 + 24 * 40) * 4_800 + 24 * 40 * 9_600


def test_the_phases_add_up_and_stay_within_their_span() -> None:
    seconds = estimated(spec_of("grpo", max_steps=3)).seconds
    assert seconds is not None
    phases = (seconds.start_up, seconds.rollouts, seconds.scoring, seconds.update)
    for end in ("low", "expected", "high"):
        total = sum(getattr(phase, end) for phase in phases)
        assert getattr(seconds.total, end) == pytest.approx(total)
    assert seconds.total.low < seconds.total.expected < seconds.total.high


def test_sft_neither_samples_nor_scores() -> None:
    seconds = estimated(spec_of(max_steps=3)).seconds
    assert seconds is not None
    assert seconds.rollouts.high == seconds.scoring.high == 0


def test_device_hours_are_those_of_the_one_device_of_a_run() -> None:
    found = estimated(spec_of(max_steps=9))
    assert found.seconds is not None
    assert found.device_hours == found.seconds.total.times(1 / 3600)


def test_without_any_figure_of_a_device_no_time_is_told() -> None:
    found = estimate(spec_of(), SMOLLM2_135M, ROWS, Device("NVIDIA RTX 9999"), None)
    assert (found.seconds, found.device_hours, found.fits) == (None, None, None)
    assert "RTX 9999" in found.source
    assert found.peak_memory


def test_what_was_assumed_is_told() -> None:
    rows = Rows(10, RowLengths(60, 12, 100, 30, turns=4), known=False, assumptions=("A guess.",))
    said = estimated(spec_of("grpo", max_steps=1, max_completion_tokens=40), rows).assumptions
    assert said[0] == "A guess."
    assert "20 tokens" in said[1]
    assert "4 turns" in said[2]


def test_a_save_that_would_never_be_is_told_before_the_job_refuses_it() -> None:
    (said,) = estimated(spec_of(epochs=1, save_at_steps=[500]), ROWS).assumptions
    assert "step 500" in said
    assert estimated(spec_of(epochs=1, save_at_steps=[1]), ROWS).assumptions == ()


sizes = st.fixed_dictionaries(
    {
        "max_steps": st.integers(1, 50),
        "batch_size": st.integers(1, 32),
        "max_completion_tokens": st.integers(1, 400),
        "group_size": st.integers(2, 8),
    }
)


@given(st.data(), sizes, st.integers(1, 800), st.integers(1, 4), st.booleans())
def test_more_never_costs_less(
    data: st.DataObject, table: dict[str, int], prompt: int, turns: int, rollouts: bool
) -> None:
    more_table = {key: value + data.draw(st.integers(0, 20)) for key, value in table.items()}
    more_prompt = prompt + data.draw(st.integers(0, 400))
    if not rollouts:
        keys = ("max_steps", "batch_size")
        table, more_table = ({key: one[key] for key in keys} for one in (table, more_table))
    algorithm = "grpo" if rollouts else "sft"
    less, more = (
        estimated(
            spec_of(algorithm, **one),
            replace(ROWS, lengths=RowLengths(length, 12, length, 30, turns)),
        )
        for one, length in ((table, prompt), (more_table, more_prompt))
    )
    assert less.tokens.trained <= more.tokens.trained
    assert less.price.most <= more.price.most
    assert less.seconds is not None
    assert more.seconds is not None
    assert less.seconds.update.expected <= more.seconds.update.expected
    assert less.seconds.total.high <= more.seconds.total.high


def test_a_run_that_does_not_fit_says_which_key_to_lower() -> None:
    spec = spec_of("grpo", max_steps=1)
    found = estimated(spec, device=Device("cpu-2", memory=5 * 10**9))
    assert found.fits is False
    assert [knob.key for knob in found.knobs] == ["train.batch_size"]


def test_a_device_that_is_too_small_is_refused_with_a_value_that_fits() -> None:
    spec = spec_of("grpo")
    device = Device("cpu-1", memory=5 * 10**9)
    with pytest.raises(InvalidTrainSpec) as refused:
        refuse_misfit(spec, SMOLLM2_135M, ROWS.lengths, device)
    assert "cpu-1 has 5.0 GB" in refused.value.message
    assert "rollouts" in refused.value.message
    assert refused.value.problems[0].path == "train.batch_size"
    assert "`train.batch_size` at " in str(refused.value.hint)


def test_a_model_that_is_too_large_is_refused_with_another_way_out() -> None:
    with pytest.raises(InvalidTrainSpec) as refused:
        refuse_misfit(spec_of(), SMOLLM2_135M, ROWS.lengths, Device("cpu-1", memory=10**9))
    assert refused.value.problems[0].path == "model"
    assert "smaller model" in str(refused.value.hint)


def test_what_fits_and_what_nobody_knows_is_not_refused() -> None:
    refuse_misfit(spec_of(), SMOLLM2_135M, ROWS.lengths, CPU)
    refuse_misfit(spec_of(), SMOLLM2_135M, ROWS.lengths, Device("cpu"))
    shapeless = SMOLLM2_135M.model_copy(update={"shape": None})
    refuse_misfit(spec_of(), shapeless, ROWS.lengths, Device("cpu-1", memory=1))
    require_room(spec_of(), shapeless, ROWS.lengths, gpu=False, room=1)


def test_a_job_without_room_ends_with_the_same_words() -> None:
    with pytest.raises(LimitExceeded, match=r"5\.0 GB are free") as refused:
        require_room(spec_of("grpo"), SMOLLM2_135M, ROWS.lengths, gpu=False, room=5 * 10**9)
    assert "`train.batch_size` at " in str(refused.value.hint)
    require_room(spec_of(), SMOLLM2_135M, ROWS.lengths, gpu=False, room=24 * 10**9)


def test_of_rows_that_are_only_assumed_the_shortest_decide() -> None:
    guessed = replace(ROWS, known=False)
    assert guessed.least.longest_prompt == 1
    assert ROWS.least == ROWS.lengths
