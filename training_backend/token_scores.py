"""How likely tokens are, straight from hidden states. Importing this imports torch."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from freesolo.domain.memory import SCORED_AT_ONCE


@dataclass(frozen=True)
class OutputLayer:
    """The layer that turns a hidden state into logits; it is frozen, and converted only once."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, causal: PreTrainedModel, dtype: torch.dtype) -> "OutputLayer":
        """Take the output layer of a model; all who ask for it get the same copy."""
        layer = causal.get_output_embeddings()
        converted = _CONVERTED.setdefault(layer, {})
        if dtype not in converted:
            bias = getattr(layer, "bias", None)
            weight = layer.weight.detach().to(dtype)
            converted[dtype] = cls(weight, None if bias is None else bias.detach().to(dtype))
        return converted[dtype]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits after hidden states, in float32."""
        return linear(hidden.to(self.weight.dtype), self.weight, self.bias).float()


# A vocabulary is large: the sampler, the trainer and a teacher on the same base share one copy.
_CONVERTED: WeakKeyDictionary[torch.nn.Module, dict[torch.dtype, OutputLayer]] = WeakKeyDictionary()


class _TokenScores(torch.autograd.Function):  # type: ignore[misc]
    """Log probabilities of tokens, and the entropies of what they were drawn from.

    Logits are computed a few rows at a time, and again for the gradient: autograd would keep several
    copies of all of them, and for a small model with a large vocabulary they are most of its memory. There
    is a gradient for hidden states through log probabilities only; the output layer is frozen.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's own
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """Score `targets` (tokens,) after hidden states (tokens, size); return two of (tokens,)."""
        logprobs = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        entropies, totals = torch.empty_like(logprobs), torch.empty_like(logprobs)
        for part in parts_of(len(targets)):
            logits = _logits(hidden[part], weight, bias, temperature)
            totals[part] = logits.logsumexp(-1)
            log_probs = logits.sub_(totals[part, None])
            entropies[part] = -torch.linalg.vecdot(log_probs.exp(), log_probs)
            logprobs[part] = log_probs.gather(1, targets[part, None]).squeeze(1)
        ctx.save_for_backward(hidden, weight, bias, targets, totals)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - autograd's own
        given: Tensor,
        _: Tensor,
    ) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient for the hidden states, given that for the log probabilities."""
        hidden, weight, bias, targets, totals = ctx.saved_tensors
        gradient = torch.empty_like(hidden)
        for part in parts_of(len(targets)):
            logits = _logits(hidden[part], weight, bias, ctx.temperature)
            weighed = (logits - totals[part, None]).exp_().mul_(-given[part, None])
            weighed.scatter_add_(1, targets[part, None], given[part, None])
            weighed /= ctx.temperature
            gradient[part] = (weighed.to(weight.dtype) @ weight).to(hidden.dtype)
        return gradient, None, None, None, None


def parts_of(count: int) -> list[slice]:
    """Divide so many tokens into those whose logits are in memory at once."""
    return [slice(start, start + SCORED_AT_ONCE) for start in range(0, count, SCORED_AT_ONCE)]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    return OutputLayer(weight, bias).logits(hidden) / temperature


def score_tokens(
    hidden: Tensor, output: OutputLayer, targets: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the log probabilities of `targets` and the entropies there, each of shape (tokens,)."""
    scores: tuple[Tensor, Tensor] = _TokenScores.apply(
        hidden, output.weight, output.bias, targets, temperature
    )
    return scores
