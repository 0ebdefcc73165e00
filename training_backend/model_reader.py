"""Teachers in the process of the trainer. Importing this imports torch."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from training_backend.packing import Row, make_batches, make_packs
from training_backend.policy import likelihoods
from training_backend.policy_trainer import attends_fully
from training_backend.teachers import Question, Reading
from training_backend.token_scores import OutputLayer

TEACHER = "teacher"


@dataclass(frozen=True)
class ModelReader:
    """Reads with a model of this process, as it is within `speaking`. A `teachers.Reader`."""

    causal: PreTrainedModel
    speaking: Callable[[], AbstractContextManager[None]]
    temperature: float
    tokens_per_pass: int

    def read(self, questions: Sequence[Question]) -> list[Reading | None]:
        """Answer all questions, prompts that they share read once."""
        most = self.causal.config.get_text_config().max_position_embeddings
        fitting = [number for number, asked in enumerate(questions) if asked.tokens <= most]
        rows = {number: _row(questions[number]) for number in fitting}
        answers = self._answers([row for row in rows.values() if row.trained_tokens])
        return [
            _reading(rows[number], answers) if number in rows else None
            for number in range(len(questions))
        ]

    def _answers(self, rows: Sequence[Row]) -> dict[int, list[float]]:
        """Return the log-probabilities of each row's tokens, by the row's identity."""
        if not rows:
            return {}
        packs = make_packs(
            rows,
            max_tokens=self.tokens_per_pass,
            share_prompts=attends_fully(self.causal),
        )
        found: dict[int, list[float]] = {}
        training = self.causal.training
        self.causal.eval()
        output = OutputLayer.of(self.causal, torch.bfloat16)
        device = output.weight.device.type
        with self.speaking(), torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            for batch in make_batches(packs, max_tokens=self.tokens_per_pass):
                logprobs, _ = likelihoods(self.causal, output, batch, self.temperature)
                left = iter(logprobs.tolist())
                for row in (row for pack in batch for row in pack.rows):
                    found[id(row)] = list(islice(left, row.trained_tokens))
        self.causal.train(training)
        return found


@contextmanager
def as_teacher(model: PeftModel) -> Iterator[None]:
    """Let the teacher's adapter speak instead of the one that is trained."""
    trained = model.active_adapter
    model.set_adapter(TEACHER, inference_mode=True)
    try:
        yield
    finally:
        model.set_adapter(trained)


def _row(question: Question) -> Row:
    count = len(question.after)
    return Row(question.prompt, question.after, question.asked, (0.0,) * count, (math.nan,) * count)


def _reading(row: Row, answers: dict[int, list[float]]) -> Reading:
    answered = iter(answers.get(id(row), ()))
    return Reading(tuple(next(answered) if asked else math.nan for asked in row.trained))
