"""How much memory a run takes at its peak, and which key to lower, and how far, where that is too much.

The sizes are those of what is kept at once. They are counted for the longest rows, and never fall
when a key of the config rises; docs/guides/cost.md compares them with what was measured.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from types import MappingProxyType

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.model_shapes import ModelShape
from freesolo.domain.train_spec import (
    GrpoSpec,
    OpdSpec,
    SftSpec,
    TrainSpec,
    completion_tokens,
    context_tokens,
    rollouts_per_step,
)

# What goes through the model at once when it is trained; the rest of a batch is accumulated.
CPU_TOKENS_PER_PASS = 1024
GPU_TOKENS_PER_PASS = 16_384
# Bytes of keys and values that are held at once while rollouts are sampled in the trainer's process.
CPU_SAMPLING_ROOM = 2 << 30
GPU_SAMPLING_ROOM = 16 << 30

# Python with torch and transformers; on an accelerator its context and its libraries' workspaces.
_CPU_RUNTIME = 500_000_000
_GPU_RUNTIME = 1_200_000_000
# An adapter's weight and gradient and Adam's two moments in float32, and its copy in bfloat16.
_ADAPTER_BYTES = 4 + 4 + 8 + 2

# What autograd keeps of a token in one layer, in bytes for each element of a vector as wide as the
# residual stream and as the feed-forward network: fitted to two models of different proportions.
_HIDDEN_BYTES = 56
_INTERMEDIATE_BYTES = 6
# An attention score: in float32, and in bfloat16 for the product with the values.
_SCORE_BYTES = 4 + 2
# Whether one token may attend to another: in float32, and in bfloat16 for the layer at work.
_MASK_BYTES = 4 + 2
# A score of the vocabulary: in bfloat16, in float32, its logarithm, and the gradient.
_LOGIT_BYTES = 2 + 4 + 4 + 4
# Positions whose scores of the vocabulary are there at once.
SCORED_AT_ONCE = 256
# One while it is sampled: in float32, sorted, and as a probability.
_SAMPLED_LOGIT_BYTES = 12


@dataclass(frozen=True)
class RowLengths:
    """Tokens of an environment's rows: of one in the middle, and of the longest.

    `answer` is a gold answer. `turns` is how often the model speaks in an episode.
    """

    prompt: int
    answer: int
    longest_prompt: int
    longest_answer: int
    turns: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes of each part. `loading` is what reading the weights takes before anything else is there.

    Rollouts and update take turns, so that the larger of the two counts.
    """

    runtime: int
    loading: int
    weights: int
    adapter: int
    activations: int
    logits: int
    rollouts: int

    @property
    def total(self) -> int:
        """The peak."""
        working = max(self.rollouts, self.activations + self.logits)
        return self.runtime + max(self.loading, self.weights + self.adapter + working)

    @property
    def largest(self) -> str:
        """The part that takes most of what a config decides and of the model."""
        return next(self.by_size())

    def by_size(self) -> Iterator[str]:
        """Yield the names of the parts that the peak consists of, the largest first."""
        update = self.activations + self.logits
        idle = {"runtime", "loading"} | (
            {"rollouts"} if self.rollouts < update else {"activations", "logits"}
        )
        parts = {name: size for name, size in asdict(self).items() if name not in idle}
        yield from sorted(parts, key=lambda name: -parts[name])


@dataclass(frozen=True)
class Knob:
    """A key of the config that is to be lowered, from what it is now to what would fit."""

    key: str
    now: int
    fits: int


def peak_memory(
    spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, *, gpu: bool
) -> Memory | None:
    """Return what a run takes at its peak; None for a model whose shape nobody told.

    Weights: on a CPU the linear layers in bfloat16, the embeddings in float32 and the mapped file,
    all of it read as float32 first; on an accelerator all in bfloat16. Activations: see
    `_activations`. Rollouts: see `_rollouts`.
    """
    shape = model.shape
    if shape is None:
        return None
    load = _load_of(spec, model, lengths, gpu=gpu)
    rank = spec.train.lora_rank or model.max_rank
    return Memory(
        runtime=_GPU_RUNTIME if gpu else _CPU_RUNTIME,
        loading=(2 if gpu else 6) * model.parameters,
        weights=_weights(model, shape, gpu=gpu),
        adapter=_ADAPTER_BYTES * shape.adapter_parameters(rank),
        activations=_activations(shape, load, gpu=gpu),
        logits=_LOGIT_BYTES * load.scored * shape.vocabulary,
        rollouts=_rollouts(shape, load, gpu=gpu),
    )


def knobs_that_fit(
    spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, *, gpu: bool, room: int
) -> tuple[Knob, ...]:
    """Find the key to lower so that a run fits into `room` bytes, and the most that it may be.

    The part that takes most is looked at first. Where no single key is enough two are lowered
    together, each by the same share of what it can be lowered by; none where that is too little.
    """
    memory = peak_memory(spec, model, lengths, gpu=gpu)
    if memory is None:
        return ()
    keys = dict.fromkeys(key for part in memory.by_size() for key in _KEYS[part])
    bounds = {key: found for key in keys if (found := _bounds(spec, model, lengths, key))}

    def fits(values: Mapping[str, int]) -> bool:
        tried = peak_memory(_lowered(spec, values), model, lengths, gpu=gpu)
        return tried is not None and tried.total <= room

    for chosen in (*combinations(bounds, 1), *combinations(bounds, 2)):
        values = _most({key: bounds[key] for key in chosen}, fits)
        if values is not None:
            return tuple(
                Knob(f"train.{key}", now=bounds[key][1], fits=value)
                for key, value in values.items()
            )
    return ()


# By part, the keys that make it smaller, the one that changes the training least first.
_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "activations": ("max_context_tokens", "max_completion_tokens", "batch_size", "group_size"),
        "logits": ("max_context_tokens", "max_completion_tokens", "batch_size"),
        "rollouts": ("batch_size", "group_size", "max_completion_tokens", "max_context_tokens"),
        "adapter": ("lora_rank",),
        "weights": (),
    }
)


@dataclass(frozen=True)
class _Load:
    """Tokens of the longest row, and of a pass of training: all of it, as many as attend to each
    other, and as many as are scored at once; rollouts. `masked` if a mask tells what may attend to what.
    """

    row: int
    tokens: int
    pack: int
    scored: int
    rollouts: int
    masked: bool


def _load_of(spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, *, gpu: bool) -> _Load:
    group, rollouts, answer = 1, 0, lengths.longest_answer
    if isinstance(spec, GrpoSpec | OpdSpec):
        group, rollouts = spec.train.group_size, rollouts_per_step(spec.train)
        answer = completion_tokens(spec) * lengths.turns
    whole, context = lengths.longest_prompt + answer, context_tokens(spec.train, model)
    row = min(whole, context)
    # The answers of a group stand behind the prompt that they share: most of them fit behind the
    # longest one that leaves room for whole answers.
    prompt = max(1, min(lengths.longest_prompt, context - answer))
    family = prompt + group * min(answer, context - prompt)
    bound = GPU_TOKENS_PER_PASS if gpu else CPU_TOKENS_PER_PASS
    tokens = max(row, min(spec.train.batch_size * family, bound))
    return _Load(
        row=row,
        tokens=tokens,
        pack=max(row, min(family, bound)),
        scored=min(SCORED_AT_ONCE, tokens, group * math.ceil(tokens * answer / whole)),
        rollouts=rollouts,
        masked=rollouts > 0,
    )


def _weights(model: BaseModelEntry, shape: ModelShape, *, gpu: bool) -> int:
    if gpu:
        return 2 * model.parameters
    embeddings = min(shape.embedding_parameters, model.parameters)
    return 2 * (model.parameters - embeddings) + 4 * embeddings + 2 * model.parameters


def _activations(shape: ModelShape, load: _Load, *, gpu: bool) -> int:
    """Return what a pass keeps for its way back.

    On a CPU everything that the layers' operations need again: of a token in a layer some vectors
    as wide as the residual stream and as the feed-forward network, and, as attention is eager, a
    score for each head and each token of its pack. On an accelerator activations are recomputed
    where memory runs out: the residual stream before each layer, and one layer in full, without
    scores, but with the mask by which the answers of a group do not see each other.
    """
    layer = _HIDDEN_BYTES * max(shape.hidden, shape.attention_width)
    layer += _INTERMEDIATE_BYTES * shape.intermediate
    if gpu:
        mask = _MASK_BYTES * load.pack if load.masked else 0
        return load.tokens * (2 * shape.hidden * shape.layers + layer + mask)
    return load.tokens * shape.layers * (layer + _SCORE_BYTES * shape.heads * load.pack)


def _rollouts(shape: ModelShape, load: _Load, *, gpu: bool) -> int:
    """Return what a step's rollouts keep: keys and values in 16 bits, and a row of logits each.

    The sampler takes no more of them at once than there is room for, and holds as much again of what
    was read for their next turns.
    """
    cache = load.row * shape.layers * shape.kv_width * (2 + 2)
    one = cache + _SAMPLED_LOGIT_BYTES * shape.vocabulary
    room = 2 * (GPU_SAMPLING_ROOM if gpu else CPU_SAMPLING_ROOM)
    return min(load.rollouts * one, max(one, room))


def _bounds(
    spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, key: str
) -> tuple[int, int] | None:
    """Return the least that a key may be lowered to, and what it is; None if it cannot be."""
    if isinstance(spec, SftSpec):
        # A context below the rows in the middle would leave out half of them.
        least = {"max_context_tokens": lengths.prompt + lengths.answer}
        now = {"max_context_tokens": context_tokens(spec.train, model)}
    else:
        answer = completion_tokens(spec)
        least = {
            "max_context_tokens": max(answer + 1, lengths.prompt + answer),
            "group_size": 2 if isinstance(spec, GrpoSpec) else 1,
        }
        now = {
            "max_context_tokens": context_tokens(spec.train, model),
            "max_completion_tokens": answer,
            "group_size": spec.train.group_size,
        }
    now |= {"batch_size": spec.train.batch_size, "lora_rank": spec.train.lora_rank or 0}
    low, high = max(1, least.get(key, 1)), now.get(key, 0)
    return (low, high) if low < high else None


def _most(
    bounds: Mapping[str, tuple[int, int]], fits: Callable[[Mapping[str, int]], bool]
) -> Mapping[str, int] | None:
    """Return the largest values that fit, each by the same share of the way from its least up."""
    # So many that the key with the widest bounds meets each of its values.
    steps = max(now - low for low, now in bounds.values())

    def at(step: int) -> Mapping[str, int]:
        return {key: low + (now - low) * step // steps for key, (low, now) in bounds.items()}

    if not fits(at(0)):
        return None
    return at(bisect_left(range(steps), True, key=lambda step: not fits(at(step))) - 1)


def _lowered(spec: TrainSpec, values: Mapping[str, int]) -> TrainSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update=values)})
