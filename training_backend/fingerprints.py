"""The fingerprint of an adapter as it is saved. Importing this imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor

from freesolo.domain.fingerprints import (
    LIKELIEST,
    PLACES,
    QUESTIONS,
    AnswerPrint,
    Fingerprint,
    Place,
)
from training_backend.chat import ChatFormat, Ids
from training_backend.token_scores import OutputLayer

# A forward pass comes out alike to the last digits only; equal adapters should have equal files.
_DIGITS = 4


@dataclass(frozen=True)
class Questions:
    """The fixed questions, as a run's model reads them."""

    thinking: bool
    prompts: tuple[Ids, ...]

    @classmethod
    def of(cls, chat: ChatFormat) -> "Questions":
        """Write the questions in the format of a model's chats."""
        prompts = (chat.prompt([{"role": "user", "content": question}]) for question in QUESTIONS)
        return cls(chat.thinking, tuple(prompts))


def fingerprint(model: PeftModel, questions: Questions) -> Fingerprint:
    """Ask the adapter that is trained; nothing is drawn at random, and nothing of the model changes."""
    training = model.training
    model.eval()
    rows = [list(prompt) for prompt in questions.prompts]
    places: list[list[Place]] = [[] for _ in rows]
    for _ in range(PLACES):
        for row, noted, place in zip(rows, places, _next_places(model, rows), strict=True):
            noted.append(place)
            row.append(place.said)
    model.train(training)
    answers = zip(QUESTIONS, places, strict=True)
    return Fingerprint(
        thinking=questions.thinking,
        answers=tuple(AnswerPrint(question=asked, places=tuple(noted)) for asked, noted in answers),
    )


def _next_places(model: PeftModel, rows: Sequence[Sequence[int]]) -> list[Place]:
    """Return what the model says behind each row."""
    causal = model.get_base_model()
    output = OutputLayer.of(causal, torch.bfloat16)
    device = output.weight.device
    ids = _padded(rows).to(device)
    lasts = torch.tensor([len(row) - 1 for row in rows], device=device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
        ends = hidden[torch.arange(len(rows), device=device), lasts]
        found = output.logits(ends).log_softmax(-1).topk(LIKELIEST)
    return [
        Place(
            said=tokens[0],
            likeliest={
                token: round(logprob, _DIGITS)
                for token, logprob in zip(tokens, logprobs, strict=True)
            },
        )
        for tokens, logprobs in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lay rows out with padding at their ends, where no token attends to it."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids
