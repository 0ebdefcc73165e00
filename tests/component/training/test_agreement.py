"""Our loss and gradients against TRL's own `GRPOTrainer`, where the settings coincide."""

import random
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tests.component.training.conftest import make_policy
from training_backend.lora import lean
from training_backend.packing import Row, make_batches, make_packs
from training_backend.policy import Objective, judge, loss_of
from training_backend.token_scores import OutputLayer

with warnings.catch_warnings():
    # What a peer and its friends say of themselves is no fault of ours.
    warnings.simplefilter("ignore")
    from trl import GRPOConfig, GRPOTrainer

pytestmark = pytest.mark.filterwarnings("ignore")

PAD = 0
NAN = float("nan")


def rows() -> list[Row]:
    """Three groups of rollouts: lengths and advantages of all kinds, one with a turn of others'."""
    draw = random.Random(7)  # noqa: S311 - the same rows each time
    made = []
    for group in range(3):
        prompt = tuple(draw.randrange(3, 250) for _ in range(5 + 3 * group))
        for member in range(4):
            after = tuple(draw.randrange(3, 250) for _ in range(draw.randrange(1, 12)))
            heard = range(3, 5) if member == 0 else ()
            made.append(
                Row(
                    prompt,
                    after,
                    trained=tuple(place not in heard for place in range(len(after))),
                    advantages=(draw.uniform(-1, 1),) * len(after),
                    logprobs=(NAN,) * len(after),
                )
            )
    return made


def ours(model: PeftModel, objective: Objective, *, shared: bool) -> float:
    """Return our loss of the batch; the gradients are in the model."""
    tokens = sum(row.trained_tokens for row in rows())
    output = OutputLayer.of(model.get_base_model(), torch.float32)
    total = 0.0
    packs = make_packs(rows(), max_tokens=64, share_prompts=shared)
    with lean(model):
        for batch in make_batches(packs, max_tokens=96):
            of_batch = [row for pack in batch for row in pack.rows]
            judged = judge(model, output, batch, objective)
            loss, measured = loss_of(judged, of_batch, objective, tokens=tokens)
            loss.backward()
            total += measured.loss
    return total


def theirs(trainer: GRPOTrainer, objective: Objective) -> float:
    """Return TRL's loss of the batch; the gradients are in its model."""
    made = rows()
    inputs = {
        "prompt_ids": padded([row.prompt for row in made], left=True),
        "completion_ids": padded([row.after for row in made]),
        "prompt_mask": padded([(1,) * len(row.prompt) for row in made], left=True),
        "completion_mask": padded([(1,) * len(row.after) for row in made]),
        "tool_mask": padded([tuple(map(int, row.trained)) for row in made]),
        "advantages": torch.tensor([row.advantages[0] for row in made]),
        "num_items_in_batch": torch.tensor(sum(row.trained_tokens for row in made)),
    }
    if objective.kl_penalty_coef:
        whole = torch.cat((inputs["prompt_ids"], inputs["completion_ids"]), dim=1)
        mask = torch.cat((inputs["prompt_mask"], inputs["completion_mask"]), dim=1)
        with torch.no_grad(), trainer.model.disable_adapter():
            inputs["ref_per_token_logps"] = trainer._get_per_token_logps_and_entropies(
                trainer.model, whole, mask, inputs["completion_ids"].shape[1]
            )[0]
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss)


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor(
        [
            [*[PAD] * (width - len(row)), *row] if left else [*row, *[PAD] * (width - len(row))]
            for row in rows
        ]
    )


def trl_trainer(folder: Path, objective: Objective, scratch: Path) -> GRPOTrainer:
    return GRPOTrainer(
        model=make_policy(folder),
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        args=GRPOConfig(
            output_dir=str(scratch),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            loss_type="dapo",
            scale_rewards="none",
            beta=objective.kl_penalty_coef,
            temperature=objective.temperature,
            top_entropy_quantile=objective.entropy_quantile,
            per_device_train_batch_size=4,
            num_generations=4,
            report_to=[],
        ),
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
        train_dataset=Dataset.from_list([{"prompt": "?"}] * 4),
    )


def gradients(model: PeftModel) -> dict[str, Tensor]:
    return {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }


# TRL takes the quantile of entropies over a whole batch, and we over each answer, so it is all here.
@pytest.mark.parametrize(
    "objective",
    [Objective(), Objective(temperature=0.7), Objective(kl_penalty_coef=0.3)],
    ids=["plain", "temperature", "kl"],
)
@pytest.mark.parametrize("shared", [True, False], ids=["branches", "rows"])
def test_loss_and_gradients_equal_those_of_trl(
    tiny_folder: Path, tmp_path: Path, objective: Objective, *, shared: bool
) -> None:
    trainer = trl_trainer(tiny_folder, objective, tmp_path)
    model = make_policy(tiny_folder)

    expected = theirs(trainer, objective)
    found = ours(model, objective, shared=shared)

    assert found == pytest.approx(expected, abs=1e-5)
    wanted = gradients(trainer.model)
    assert wanted
    assert max(float(grad.abs().max()) for grad in wanted.values()) > 1e-3
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, wanted[name], atol=1e-5, rtol=1e-5)
