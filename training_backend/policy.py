"""The policy's own view of rollouts, and the loss by which it is updated. Importing this imports torch.

The loss is the policy gradient of GRPO (Z. Shao et al., "DeepSeekMath", 2024) with one update for
each batch of rollouts, summed over tokens and divided by their number in the whole step (Q. Yu et
al., "DAPO", 2025): a token counts the same in a short answer and in a long one. Tokens are weighted by
how much likelier the trainer finds them than the sampler did, at most `IMPORTANCE_CAP` times (F. Yao
et al., "Your efficient RL framework secretly brings you off-policy RL training", 2025).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from training_backend.packing import Pack, Row
from training_backend.token_scores import OutputLayer, score_tokens

IMPORTANCE_CAP = 2.0


@dataclass(frozen=True)
class Objective:
    """What a token costs. `temperature` is that of the rollouts: the policy is judged as it acted."""

    temperature: float = 1.0
    kl_penalty_coef: float = 0.0
    entropy_quantile: float = 1.0


@dataclass(frozen=True)
class Judged:
    """Tokens that carry loss, row after row: what the policy thinks of them. All of shape (tokens,).

    `reference` is what the model without its adapter thinks, None if nobody asked.
    """

    logprobs: Tensor
    entropies: Tensor
    reference: Tensor | None = None


@dataclass(frozen=True)
class Measured:
    """What the loss of a batch is made of, as sums over its tokens."""

    tokens: int
    loss: float
    entropy: float
    kl: float
    logp_difference: float
    largest_difference: float
    importance_ratio: float
    least_importance: float
    most_importance: float


def judge(
    model: PeftModel, output: OutputLayer, packs: Sequence[Pack], objective: Objective
) -> Judged:
    """Let the policy judge the tokens of packs that carry loss, and its base too if it is asked."""
    causal = model.get_base_model()
    logprobs, entropies = likelihoods(causal, output, packs, objective.temperature)
    if not objective.kl_penalty_coef:
        return Judged(logprobs, entropies)
    with torch.no_grad(), model.disable_adapter():
        reference, _ = likelihoods(causal, output, packs, objective.temperature)
    return Judged(logprobs, entropies, reference)


def loss_of(
    judged: Judged, rows: Sequence[Row], objective: Objective, *, tokens: int
) -> tuple[Tensor, Measured]:
    """Return the part of a step's loss that these rows make up, of `tokens` in the whole step."""
    logprobs, old = judged.logprobs, judged.logprobs.detach()
    advantages = _trained(rows, [row.advantages for row in rows]).to(old.device)
    sampled = _trained(rows, [row.logprobs for row in rows]).to(old.device)
    difference = torch.where(sampled.isnan(), 0.0, old - sampled)
    importance = difference.exp().clamp(max=IMPORTANCE_CAP)
    # One, with the gradient of the policy: every update follows rollouts of the policy it updates.
    ratio = (logprobs - old).exp()
    kept = _least_sure(judged.entropies, rows, objective.entropy_quantile)
    cost = -advantages * ratio * importance * kept
    kl = torch.zeros_like(old)
    if judged.reference is not None:
        # The estimator k3 (J. Schulman, 2020), weighted by the ratio so that its gradient is that of
        # the divergence itself.
        ahead = judged.reference - logprobs
        divergence = (ahead.exp() - ahead - 1) * ratio
        cost = cost + objective.kl_penalty_coef * divergence
        kl = divergence.detach()
    loss = cost.sum() / tokens
    measured = Measured(
        tokens=len(old),
        loss=loss.item(),
        entropy=judged.entropies.sum().item(),
        kl=kl.sum().item(),
        logp_difference=difference.abs().sum().item(),
        largest_difference=difference.abs().max().item() if len(old) else 0.0,
        importance_ratio=importance.sum().item(),
        least_importance=importance.min().item() if len(old) else 1.0,
        most_importance=importance.max().item() if len(old) else 1.0,
    )
    return loss, measured


def likelihoods(
    causal: PreTrainedModel, output: OutputLayer, packs: Sequence[Pack], temperature: float
) -> tuple[Tensor, Tensor]:
    """Return how likely the tokens of packs that carry loss are to a model, and its entropies there."""
    device = output.weight.device
    hidden = causal.base_model(**_inputs(packs, device), use_cache=False).last_hidden_state
    targets = torch.tensor(
        [
            token
            for pack in packs
            for row in pack.rows
            for token, trained in zip(row.after, row.trained, strict=True)
            if trained
        ],
        dtype=torch.long,
        device=device,
    )
    return score_tokens(hidden[_places(packs, device)], output, targets, temperature=temperature)


def _inputs(packs: Sequence[Pack], device: torch.device) -> dict[str, Tensor]:
    """Lay packs out as a batch, padded at their ends, where no token attends to it.

    Plain rows need no mask: each architecture knows best how its layers look back, some of them
    only so far.
    """
    ids = _padded([pack.ids for pack in packs], fill=0).to(device)
    if all(len(pack.rows) == 1 for pack in packs):
        return {"input_ids": ids}
    branches = _padded([pack.branches for pack in packs], fill=-1).to(device)
    return {
        "input_ids": ids,
        "position_ids": _padded([pack.positions for pack in packs], fill=0).to(device),
        "attention_mask": _allowed(branches),
    }


def _padded(rows: Sequence[Sequence[int]], *, fill: int) -> Tensor:
    """Return rows of numbers as (rows, longest), filled up behind the shorter ones."""
    padded = torch.full((len(rows), max(map(len, rows))), fill)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.tensor(row)
    return padded


def _allowed(branches: Tensor) -> Tensor:
    """Return what may attend to what (packs, 1, tokens, tokens), as what is added to the scores."""
    own = branches[:, :, None] == branches[:, None, :]
    prompt = (branches[:, None, :] == 0) & (branches[:, :, None] >= 0)
    causal = torch.ones(2 * branches.shape[1:], dtype=torch.bool, device=branches.device).tril()
    allowed = (own | prompt) & causal
    return torch.zeros_like(allowed, dtype=torch.float32).masked_fill(
        ~allowed, torch.finfo(torch.float32).min
    )[:, None]


def _places(packs: Sequence[Pack], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where the tokens are that those with loss are predicted from: pack, and place in it."""
    numbers, places = [], []
    for number, pack in enumerate(packs):
        trained = (flag for row in pack.rows for flag in row.trained)
        mine = [place for place, flag in zip(pack.predictors, trained, strict=True) if flag]
        places += mine
        numbers += [number] * len(mine)
    return torch.tensor(numbers, device=device), torch.tensor(places, device=device)


def _trained(rows: Sequence[Row], values: Sequence[tuple[float, ...]]) -> Tensor:
    """Return the values of the tokens that carry loss, row after row."""
    return torch.tensor(
        [
            value
            for row, of_row in zip(rows, values, strict=True)
            for value, trained in zip(of_row, row.trained, strict=True)
            if trained
        ]
    )


def _least_sure(entropies: Tensor, rows: Sequence[Row], quantile: float) -> Tensor:
    """Tell the tokens of each row with the highest entropy, the share `quantile` of them (1 or 0).

    Few tokens decide where an answer goes (S. Wang et al., "Beyond the 80/20 rule", 2025).
    """
    if quantile >= 1:
        return torch.ones_like(entropies)
    kept = torch.zeros_like(entropies)
    start = 0
    for row in rows:
        end = start + row.trained_tokens
        count = max(1, round(quantile * (end - start)))
        if end > start:
            kept[start + entropies[start:end].topk(count).indices] = 1.0
        start = end
    return kept
