"""How a model is drawn towards gold answers: the loss of their tokens, and its gradient.

Importing this imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor

from training_backend.data import GoldRow
from training_backend.token_scores import OutputLayer, parts_of


@dataclass(frozen=True)
class Imitated:
    """What a batch came to, as sums over its `tokens` with loss.

    `read` tokens went through the model, and `padding` more to fill up shorter rows.
    """

    tokens: int
    loss: float
    right: int
    entropy: float
    read: int
    padding: int


def imitate(
    model: PeftModel, output: OutputLayer, rows: Sequence[GoldRow], *, tokens: int
) -> tuple[Tensor, Tensor, Imitated]:
    """Let the model say the rows; `tokens` carry loss in the whole step.

    Return the hidden states from which tokens with loss are predicted, the gradient of the step's loss
    for them, and what the batch came to. `hidden.backward(gradient)` does the rest.
    """
    causal = model.get_base_model()
    device = output.weight.device
    ids, labels = _laid_out(rows)
    # Padding stands at the end, where no token attends to it, so that no mask is needed.
    hidden = causal.base_model(input_ids=ids.to(device), use_cache=False).last_hidden_state
    scored = (labels >= 0).nonzero(as_tuple=True)
    targets = labels[scored].to(device)
    said = hidden[scored[0].to(device), scored[1].to(device)]
    gradient, measured = _score(said.detach(), output, targets, tokens)
    read = sum(len(row.ids) for row in rows)
    loss, right, entropy = measured.tolist()
    return (
        said,
        gradient,
        Imitated(len(targets), loss, round(right), entropy, read, ids.numel() - read),
    )


def _laid_out(rows: Sequence[GoldRow]) -> tuple[Tensor, Tensor]:
    """Return ids, and for each the id that is to follow it, -1 where that carries no loss."""
    shape = len(rows), max(len(row.ids) for row in rows)
    ids, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    for number, row in enumerate(rows):
        after = torch.tensor(row.after)
        trained = torch.tensor(row.trained)
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        first = len(row.prompt) - 1
        labels[number, first : first + len(after)] = after.where(trained, -1)
    return ids, labels


def _score(
    said: Tensor, output: OutputLayer, targets: Tensor, tokens: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the step's loss for hidden states, and the sums of what was measured.

    The logits are seen once: autograd would keep several copies of them, and read them as often.
    """
    gradient = torch.empty_like(said)
    sums = torch.zeros(3, dtype=torch.float64, device=said.device)
    with torch.no_grad():
        for part in parts_of(len(said)):
            wanted = targets[part, None]
            logits = output.logits(said[part])
            log_probs = logits.log_softmax(-1)
            probs = log_probs.exp()
            sums += torch.stack(
                (
                    -log_probs.gather(1, wanted).sum(),
                    (logits.argmax(-1, keepdim=True) == wanted).sum(),
                    -torch.linalg.vecdot(probs, log_probs).sum(),
                )
            )
            probs.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=probs.dtype))
            gradient[part] = (probs.to(output.weight.dtype) @ output.weight).to(said.dtype) / tokens
    return gradient, sums
