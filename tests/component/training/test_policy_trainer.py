"""The update of the policy, on the tiny model: what it learns, and what it does when it cannot."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from freesolo.domain.throughput import speed_of
from freesolo.domain.train_tables import GrpoTable
from freesolo.domain.watchdog import Phase
from freesolo.errors import InvalidTrainSpec, LimitExceeded
from tests.component.training.conftest import make_policy
from training_backend.lora import Device
from training_backend.packing import Row, make_packs
from training_backend.policy import IMPORTANCE_CAP, Objective, judge, loss_of
from training_backend.policy_trainer import Course, Practice, Practise, train_policy
from training_backend.recipes.task import Sample
from training_backend.token_scores import OutputLayer

NAN = float("nan")


class Told:
    """What a trainer told. A `Progress`."""

    def __init__(self) -> None:
        self.steps: list[Mapping[str, float]] = []
        self.logs: list[str] = []
        self.saved: list[int] = []
        self.shown: list[Sample] = []
        self.phases: list[Phase] = []

    def started(self, total_steps: int, *, sampler: str | None = None) -> None: ...

    def phase(self, phase: Phase) -> None:
        self.phases.append(phase)

    def log(self, message: str) -> None:
        self.logs.append(message)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append({"step": step, **values})

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        self.shown += samples

    def checkpoint(self, step: int, folder: Path) -> None:
        self.saved.append(step)


def rows(*advantages: float, size: int = 6, seed: int = 0) -> list[Row]:
    draw = random.Random(seed)  # noqa: S311 - the same rows each time
    prompt = tuple(draw.randrange(3, 250) for _ in range(5))
    return [
        Row(
            prompt,
            tuple(draw.randrange(3, 250) for _ in range(size)),
            trained=(True,) * size,
            advantages=(advantage,) * size,
            logprobs=(NAN,) * size,
        )
        for advantage in advantages
    ]


def learn(
    model: PeftModel,
    practise: Practise,
    folder: Path,
    *,
    tokens_per_pass: int = 1024,
    kl: float = 0.0,
    **train: object,
) -> Told:
    told = Told()
    table = GrpoTable.model_validate(
        {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-2, **train}
    )
    course = Course(
        order=[0, 1] * table.max_steps,
        steps=table.max_steps,
        train=table,
        objective=Objective(kl_penalty_coef=kl),
        seed=3,
        output_dir=folder,
        sampler="scripted",
    )
    device = Device(gpu=False, tokens_per_pass=tokens_per_pass, sampling_room=1 << 20)
    train_policy(model, course, practise, device=device, progress=told)
    return told


def weights(model: PeftModel) -> dict[str, Tensor]:
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def output_of(model: PeftModel) -> OutputLayer:
    return OutputLayer.of(model.get_base_model(), torch.float32)


def likelihood(model: PeftModel, row: Row) -> float:
    with torch.no_grad():
        return float(
            judge(
                model, output_of(model), make_packs([row], max_tokens=99), Objective()
            ).logprobs.sum()
        )


def test_what_beat_its_siblings_becomes_likelier_and_what_fell_behind_less_so(
    policy: PeftModel, tmp_path: Path
) -> None:
    better, worse = rows(1.0, -1.0)
    before = likelihood(policy, better), likelihood(policy, worse)

    told = learn(policy, lambda *_: Practice([better, worse], {"reward": 0.5}), tmp_path)

    assert likelihood(policy, better) > before[0]
    assert likelihood(policy, worse) < before[1]
    assert [step["step"] for step in told.steps] == [1, 2, 3]
    assert told.saved == [3]
    assert told.phases == [Phase.ROLLOUTS, Phase.STEP] * 3
    for step in told.steps:
        named = {"loss", "grad_norm", "entropy", "reward", "time/rollouts", "time/update"}
        assert named <= set(step)
        assert step["perf/peak_memory"] > 1 << 20
        ratios = [step[f"sampling/importance_ratio_{what}"] for what in ("min", "mean", "max")]
        assert ratios == sorted(ratios)
    # A prompt of 5 tokens once, and two answers of 6.
    assert [step["num_tokens"] for step in told.steps] == [17, 34, 51]


def test_the_prompts_of_a_step_are_those_of_its_place_in_the_order(
    policy: PeftModel, tmp_path: Path
) -> None:
    asked: list[tuple[int, list[int]]] = []

    def practise(step: int, numbers: Sequence[int]) -> Practice:
        asked.append((step, list(numbers)))
        return Practice(rows(1.0, -1.0), {})

    learn(policy, practise, tmp_path)

    assert asked == [(1, [0, 1]), (2, [0, 1]), (3, [0, 1])]


def test_a_step_in_which_nobody_was_better_changes_nothing(
    policy: PeftModel, tmp_path: Path
) -> None:
    before = weights(policy)

    told = learn(policy, lambda *_: Practice(rows(0.0, 0.0), {}), tmp_path)

    assert len(told.steps) == 3
    for name, weight in weights(policy).items():
        assert torch.equal(weight, before[name]), name


def test_only_tokens_that_went_through_the_update_count_as_its_speed(
    policy: PeftModel, tmp_path: Path
) -> None:
    # Two groups, in one of which nobody was better; their prompts differ.
    learned, silent = rows(1.0, -1.0), rows(0.0, 0.0, seed=1)
    practices = {1: [*learned, *silent], 2: silent, 3: [*learned, *silent]}

    told = learn(policy, lambda step, _: Practice(practices[step], {}), tmp_path)

    counted = [
        step["tokens_per_s"] * (step["time/rollouts"] + step["time/update"]) for step in told.steps
    ]
    # A prompt of 5 tokens once, and two answers of 6.
    assert counted == pytest.approx([17, 0, 17])
    assert len(speed_of(told.steps, rollouts=4, start_up=None).trained) == 2


def test_the_penalty_for_leaving_the_base_model_pulls_back_to_it(
    policy: PeftModel, tmp_path: Path
) -> None:
    told = learn(policy, lambda *_: Practice(rows(0.0, 0.0), {}), tmp_path, kl=1.0, max_steps=15)
    assert told.steps[0]["kl"] > 0
    assert told.steps[-1]["kl"] < told.steps[0]["kl"]


def test_a_loss_that_is_no_number_ends_the_run_before_it_spoils_the_adapter(
    policy: PeftModel, tmp_path: Path
) -> None:
    before = weights(policy)
    with pytest.raises(InvalidTrainSpec, match="loss of step 1 is nan") as refusal:
        learn(policy, lambda *_: Practice(rows(NAN, 1.0), {}), tmp_path)

    assert "learning_rate" in str(refusal.value.hint)
    for name, weight in weights(policy).items():
        assert torch.equal(weight, before[name]), name


def _limit_memory(model: PeftModel, tokens: int) -> None:
    """Let the model run out of memory when more tokens go through it at once."""

    def check(_: torch.nn.Module, __: object, inputs: Mapping[str, Tensor]) -> None:
        if inputs["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError("out of memory")

    model.get_base_model().base_model.register_forward_pre_hook(check, with_kwargs=True)


def test_a_step_that_does_not_fit_is_computed_in_smaller_parts(
    policy: PeftModel, tiny_folder: Path, tmp_path: Path
) -> None:
    practice = Practice(rows(1.0, -0.5, -0.5, 0.5), {})
    whole = make_policy(tiny_folder)
    learn(whole, lambda *_: practice, tmp_path / "whole")
    _limit_memory(policy, 20)

    told = learn(policy, lambda *_: practice, tmp_path / "parts", tokens_per_pass=64)

    assert any("at most 16 tokens" in line for line in told.logs)
    # In bfloat16 the parts add up a little differently, and the optimizer's first steps magnify that.
    for row in practice.rows:
        assert likelihood(policy, row) == pytest.approx(likelihood(whole, row), rel=0.01)


def test_activations_that_are_computed_twice_come_out_alike(
    policy: PeftModel, tiny_folder: Path, tmp_path: Path
) -> None:
    practice = Practice(rows(1.0, -0.5, -0.5), {})
    plain = make_policy(tiny_folder)
    learn(plain, lambda *_: practice, tmp_path / "plain", kl=0.1)
    policy.gradient_checkpointing_enable({"use_reentrant": False})

    learn(policy, lambda *_: practice, tmp_path / "twice", kl=0.1)

    assert policy.is_gradient_checkpointing
    policy.gradient_checkpointing_disable()
    for row in practice.rows:
        assert likelihood(policy, row) == pytest.approx(likelihood(plain, row), rel=0.01)


def test_a_single_row_that_does_not_fit_ends_the_run_with_what_to_lower(
    policy: PeftModel, tmp_path: Path
) -> None:
    _limit_memory(policy, 5)
    with pytest.raises(LimitExceeded, match="a single row of 11 tokens") as refusal:
        learn(policy, lambda *_: Practice(rows(1.0, -1.0), {}), tmp_path, tokens_per_pass=8)
    assert "max_context_tokens" in str(refusal.value.hint)


def test_a_token_the_sampler_found_unlikely_counts_twice_at_the_most(policy: PeftModel) -> None:
    (row,) = rows(1.0)
    packs = make_packs([row], max_tokens=99)
    judged = judge(policy, output_of(policy), packs, Objective())
    plain, _ = loss_of(judged, [row], Objective(), tokens=6)
    assert plain.item() == pytest.approx(-1.0)

    sampled = judged.logprobs.detach() - torch.tensor([0.0, 0.5, 5.0, 50.0, -0.5, 0.0])
    weighed = Row(row.prompt, row.after, row.trained, row.advantages, tuple(sampled.tolist()))
    loss, measured = loss_of(judged, [weighed], Objective(), tokens=6)

    e = torch.tensor(0.5).exp().item()
    expected = (1 + e + IMPORTANCE_CAP + IMPORTANCE_CAP + 1 / e + 1) / 6
    assert -loss.item() == pytest.approx(expected, rel=1e-5)
    assert measured.importance_ratio / 6 == pytest.approx(expected, rel=1e-5)


def test_only_the_tokens_the_model_was_least_sure_of_are_trained(policy: PeftModel) -> None:
    made = rows(1.0, 1.0, size=10)
    judged = judge(policy, output_of(policy), make_packs(made, max_tokens=99), Objective())

    loss, _ = loss_of(judged, made, Objective(entropy_quantile=0.2), tokens=20)
    (gradient,) = torch.autograd.grad(loss, judged.logprobs)

    for start in (0, 10):
        of_row = gradient[start : start + 10]
        surest = judged.entropies[start : start + 10].topk(2).indices
        assert of_row.nonzero().flatten().tolist() == sorted(surest.tolist())
