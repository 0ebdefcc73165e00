"""The adapter that is trained, for a server that samples with it. Importing this imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel

from training_backend.packing import Pack, Row
from training_backend.policy import Objective, judge
from training_backend.sampling.sampler import Ids
from training_backend.token_scores import OutputLayer


@dataclass(frozen=True)
class TrainedAdapter:
    """A model's active adapter. A `sampling.vllm.Policy`."""

    model: PeftModel
    temperature: float

    def save(self, folder: Path) -> None:
        """Write the adapter as PEFT does, and nothing else."""
        self.model.save_pretrained(
            folder, selected_adapters=[self.model.active_adapter], save_embedding_layers=False
        )

    def has_effect(self) -> bool:
        """Say whether the adapter changes the model at all: a fresh one does not."""
        name = f"lora_B.{self.model.active_adapter}."
        return any(
            bool(weight.any()) for part, weight in self.model.named_parameters() if name in part
        )

    def logprobs(self, prompt: Ids, after: Ids) -> Sequence[float]:
        """Return how likely the tokens of `after` are to the trainer, at the run's temperature."""
        row = Row(prompt, after, (True,) * len(after), (0.0,) * len(after), (0.0,) * len(after))
        output = OutputLayer.of(self.model.get_base_model(), torch.bfloat16)
        with torch.no_grad(), torch.autocast(output.weight.device.type, torch.bfloat16):
            judged = judge(self.model, output, [Pack(prompt, (row,))], Objective(self.temperature))
        logprobs: list[float] = judged.logprobs.tolist()
        return logprobs
