"""SFT whose sums are no numbers any more."""

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from freesolo.domain.train_tables import SftTable
from freesolo.errors import InvalidTrainSpec
from tests.component.training.test_imitation import Told, rows
from training_backend.recipes.sft import Plan, fit


class Kept(Told):
    """Keeps what a trainer hands over to be stored."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[int] = []

    def checkpoint(self, step: int, folder: Path) -> None:
        """Take over what was saved after a step."""
        self.saved.append(step)


def gone_astray(policy: PeftModel, folder: Path, *, down: float, up: float) -> Path:
    """Save an adapter whose two matrices are these numbers throughout."""
    for name, weight in policy.named_parameters():
        if "lora_" in name:
            torch.nn.init.constant_(weight, down if "lora_A" in name else up)
    policy.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("down", "up", "words"),
    [
        (1.0, math.nan, "The loss of step 1 is nan"),
        # It says nothing yet, but what it would have to learn is beyond all numbers.
        (1e30, 0.0, "The gradient of step 1 is inf"),
    ],
)
def test_training_that_runs_away_ends_with_the_reason_and_saves_nothing_of_that_step(
    policy: PeftModel, tiny_folder: Path, tmp_path: Path, down: float, up: float, words: str
) -> None:
    plan = Plan(
        rows=tuple(rows()),
        model_folder=tiny_folder,
        output_dir=tmp_path / "made",
        train=SftTable(batch_size=4, max_steps=3, save_every=1, init_from_adapter="run-1bq8w3c9ze"),
        seed=3,
        warm_start=gone_astray(policy, tmp_path / "astray", down=down, up=up),
    )
    told = Kept()

    with pytest.raises(InvalidTrainSpec, match=words) as refusal:
        fit(plan, told)

    assert "train.learning_rate" in str(refusal.value.hint)
    assert told.saved == []
    assert told.steps == []
    assert not list(plan.output_dir.glob("checkpoint-*"))
