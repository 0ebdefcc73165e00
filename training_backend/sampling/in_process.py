"""Sampling with the model that is trained, in its own process.

What makes it fast on a CPU: weights and keys in bfloat16 that are converted once and not at each
token, a prompt that several requests share read once, what a turn has read kept for the next turn,
keys and values written in place, and rows that have ended out of the way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache

from training_backend.lora import layers_of, lean
from training_backend.sampling.grammar import Follower, Grammar
from training_backend.sampling.sampler import Finish, Ids, Request, Rules, Sampled
from training_backend.token_scores import OutputLayer

_ATTENTION = "freesolo-sampling"
# Columns by which the room for keys grows.
_GROWTH = 64
# Tokens that are read at once: enough to keep the cores busy, few enough for memory.
_READ_TOKENS = 2048


@dataclass
class _Layer:
    """Keys and values of one layer, each of shape (rows, heads, columns, head size)."""

    keys: Tensor
    values: Tensor


class _Memory(Cache):  # type: ignore[misc]
    """What a batch of rows has read. Column c of a row is one token of it, or nothing.

    `seen` (rows, columns) tells which; `lengths` (rows) counts them. The first `active` rows are at
    work, and the next tokens go into the columns from `used` on.
    """

    def __init__(self, layers: int, rows: int, dtype: torch.dtype) -> None:
        super().__init__(layers=[])
        self._dtype = dtype
        self._layers: list[_Layer | None] = [None] * layers
        self.seen = torch.zeros(rows, 0, dtype=torch.bool)
        self.lengths = torch.zeros(rows, dtype=torch.long)
        self.active = rows
        self.used = 0

    @property
    def rows(self) -> int:
        return len(self.seen)

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new columns of the active rows; return all of theirs."""
        layer = self._room(layer_idx, keys)
        end = self.used + keys.shape[2]
        layer.keys[: self.active, :, self.used : end] = keys
        layer.values[: self.active, :, self.used : end] = values
        return layer.keys[: self.active, :, :end], layer.values[: self.active, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of columns in use, which is how `transformers` counts."""
        return self.used

    def note(self, new: Tensor) -> tuple[Tensor, Tensor]:
        """Make room for new tokens, of which `new` (active rows, columns) tells the real ones.

        Return the attention mask (rows, 1, columns, all columns) and their positions.
        """
        count = new.shape[1]
        seen = torch.zeros(self.rows, self.used + count, dtype=torch.bool)
        seen[:, : self.used] = self.seen
        seen[: self.active, self.used :] = new
        positions = (self.lengths[: self.active, None] + new.cumsum(1) - 1).clamp(min=0)
        self.seen = seen
        self.lengths[: self.active] += new.sum(1)
        allowed = seen[: self.active, None, None, :]
        if count == 1:
            return allowed, positions
        order = torch.ones(count, count, dtype=torch.bool).tril()
        past = torch.ones(count, self.used, dtype=torch.bool)
        return allowed & torch.cat((past, order), dim=1), positions

    def advance(self, count: int) -> None:
        """Count columns that every layer has written."""
        self.used += count

    def swap(self, one: int, other: int) -> None:
        """Exchange two rows."""
        both, crossed = [one, other], [other, one]
        for layer in self._layers:
            if layer is not None:
                layer.keys[both] = layer.keys[crossed]
                layer.values[both] = layer.values[crossed]
        self.seen[both] = self.seen[crossed]
        self.lengths[both] = self.lengths[crossed]

    def take(self, rows: Sequence[int]) -> "_Memory":
        """Return a memory of these rows, some of them perhaps several times."""
        taken = _Memory(len(self._layers), len(rows), self._dtype)
        index = torch.tensor(rows)
        columns = self.seen[index].any(0).nonzero().flatten()
        taken.seen = self.seen[index][:, columns]
        taken.lengths = self.lengths[index].clone()
        taken.used = len(columns)
        for number, layer in enumerate(self._layers):
            if layer is not None:
                taken._layers[number] = _Layer(
                    layer.keys[index][:, :, columns], layer.values[index][:, :, columns]
                )
        return taken

    def _room(self, number: int, like: Tensor) -> _Layer:
        layer, needed = self._layers[number], self.used + like.shape[2]
        if layer is not None and layer.keys.shape[2] >= needed:
            return layer
        shape = (self.rows, like.shape[1], needed + _GROWTH, like.shape[3])
        grown = _Layer(torch.zeros(shape, dtype=self._dtype), torch.zeros(shape, dtype=self._dtype))
        if layer is not None:
            grown.keys[:, :, : self.used] = layer.keys[:, :, : self.used]
            grown.values[:, :, : self.used] = layer.values[:, :, : self.used]
        self._layers[number] = grown
        return grown


class InProcessSampler:
    """Samples from a model with full attention in every layer, and the adapter on it.

    It holds at most about `room` bytes of keys and values. `decode` gives the text of ids, in which
    stop sequences are looked for.
    """

    def __init__(
        self,
        model: PeftModel,
        rules: Rules,
        *,
        decode: Callable[[Ids], str],
        room: int = 2 << 30,
        grammar: Grammar | None = None,
    ) -> None:
        self._model = model
        self._rules = rules
        self._decode = decode
        # That of the frozen weights, which are most of what is multiplied.
        self._dtype = layers_of(model)[0].base_layer.weight.dtype
        self._grammar = grammar
        self._causal: PreTrainedModel = model.get_base_model()
        self._output = OutputLayer.of(self._causal, self._dtype)
        self._layers = self._causal.config.num_hidden_layers
        self._tokens_held = room // _bytes_of_token(self._causal, self._dtype)
        self._kept: dict[Ids, tuple[_Memory, int]] = {}

    def policy_changed(self) -> None:
        """Note that the policy was updated: it now reads everything in another way."""
        self.forget()

    def forget(self) -> None:
        """Free what was kept for next turns."""
        self._kept = {}

    def sample(self, requests: Sequence[Request]) -> list[Sampled]:
        """Answer all requests, in their order. The distribution of a row knows nothing of others."""
        answers: dict[int, Sampled] = {}
        kept: dict[Ids, tuple[_Memory, int]] = {}
        held = 0
        with torch.inference_mode(), self._output.weight.device, self._sampling():
            for places, memory in self._read(requests):
                batch = _Batch(
                    memory, [requests[place] for place in places], self._rules, self._grammar
                )
                self._speak(batch)
                answers |= dict(zip(places, batch.answers(), strict=True))
                held += memory.rows * memory.used
                if held <= self._tokens_held:
                    kept |= {ids: (memory, row) for row, ids in enumerate(batch.spoken())}
        self._kept = kept
        return [answers[place] for place in range(len(requests))]

    def _read(self, requests: Sequence[Request]) -> Iterator[tuple[list[int], "_Memory"]]:
        """Yield requests in batches, by their places, with a memory of all but their last token."""
        prompts = [request.ids for request in requests]
        for memory, found in self._known(prompts):
            for part in self._fitting(requests, found):
                taken = memory.take([row for _, row in part])
                self._extend(taken, [prompts[place][:-1] for place, _ in part])
                yield [place for place, _ in part], taken
        fresh = [(place, 0) for place, ids in enumerate(prompts) if self._parent(ids) is None]
        for part in self._fitting(requests, fresh):
            places = [place for place, _ in part]
            distinct = list(dict.fromkeys(prompts[place] for place in places))
            memory = _Memory(self._layers, len(distinct), self._dtype)
            self._extend(memory, [prompt[:-1] for prompt in distinct])
            row_of = {prompt: row for row, prompt in enumerate(distinct)}
            yield places, memory.take([row_of[prompts[place]] for place in places])

    def _fitting(
        self, requests: Sequence[Request], places: Sequence[tuple[int, int]]
    ) -> Iterator[list[tuple[int, int]]]:
        """Divide places, each with its row in a memory, into batches that there is room for."""
        part: list[tuple[int, int]] = []
        longest = 0
        for place, row in places:
            request = requests[place]
            longest = max(longest, len(request.ids) + request.max_tokens)
            if part and (len(part) + 1) * longest > self._tokens_held:
                yield part
                part, longest = [], len(request.ids) + request.max_tokens
            part.append((place, row))
        if part:
            yield part

    def _known(self, prompts: Sequence[Ids]) -> Iterator[tuple["_Memory", list[tuple[int, int]]]]:
        """Group the prompts of which a memory holds the beginning, each with its row there."""
        groups: dict[int, tuple[_Memory, list[tuple[int, int]]]] = {}
        for place, prompt in enumerate(prompts):
            if (parent := self._parent(prompt)) is not None:
                memory, row = parent
                groups.setdefault(id(memory), (memory, []))[1].append((place, row))
        yield from groups.values()

    def _parent(self, prompt: Ids) -> tuple["_Memory", int] | None:
        lengths = sorted({len(ids) for ids in self._kept}, reverse=True)
        return next(
            (
                self._kept[prompt[:length]]
                for length in lengths
                if length < len(prompt) and prompt[:length] in self._kept
            ),
            None,
        )

    def _extend(self, memory: "_Memory", prompts: Sequence[Ids]) -> None:
        """Read on to the end of each prompt, a few columns at a time."""
        lengths = memory.lengths.tolist()
        rest = [prompt[length:] for prompt, length in zip(prompts, lengths, strict=True)]
        longest = max(map(len, rest))
        width = max(1, _READ_TOKENS // len(rest))
        for start in range(0, longest, width):
            part = [ids[start : start + width] for ids in rest]
            columns = max(map(len, part))
            tokens = torch.zeros(len(part), columns, dtype=torch.long)
            real = torch.zeros(len(part), columns, dtype=torch.bool)
            for row, ids in enumerate(part):
                tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
                real[row, : len(ids)] = True
            self._forward(memory, tokens, real)

    def _speak(self, batch: "_Batch") -> None:
        """Sample token after token until every row has ended."""
        while batch.active:
            new = torch.ones(batch.active, 1, dtype=torch.bool)
            hidden = self._forward(batch.memory, batch.last[: batch.active, None], new)
            logits = self._output.logits(hidden[:, -1])
            batch.say(logits, self._decode)

    def _forward(self, memory: "_Memory", tokens: Tensor, real: Tensor) -> Tensor:
        mask, positions = memory.note(real)
        hidden: Tensor = self._causal.base_model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=memory,
            use_cache=True,
        ).last_hidden_state
        memory.advance(tokens.shape[1])
        return hidden

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Let the model attend and multiply as sampling does, and not note what it computes."""
        attention = self._causal.config._attn_implementation  # noqa: SLF001 - no public getter
        training = self._model.training
        self._model.eval()
        self._causal.set_attn_implementation(_ATTENTION)
        try:
            with lean(self._model, fixed=True):
                yield
        finally:
            self._causal.set_attn_implementation(attention)
            self._model.train(training)


class _Batch:
    """Rows that are sampled side by side; those that have ended are behind the active ones."""

    def __init__(
        self,
        memory: _Memory,
        requests: Sequence[Request],
        rules: Rules,
        grammar: Grammar | None,
    ) -> None:
        self.memory = memory
        self._rules = rules
        self._requests = list(requests)
        self._order = list(range(len(requests)))
        self._ids: list[list[int]] = [[] for _ in requests]
        self._logprobs: list[list[float]] = [[] for _ in requests]
        self._finish = [Finish.LENGTH] * len(requests)
        self.last = torch.tensor([request.ids[-1] for request in requests])
        self._draws = _draws(requests)
        self._followers: list[Follower] = [grammar.follow() for _ in requests] if grammar else []

    @property
    def active(self) -> int:
        return self.memory.active

    def say(self, logits: Tensor, decode: Callable[[Ids], str]) -> None:
        """Draw the next token of every active row from its logits (rows, vocabulary)."""
        log_probs = (logits / self._rules.temperature).log_softmax(-1)
        step = torch.tensor([len(self._ids[place]) for place in self._order[: self.active]])
        draws = self._draws[torch.arange(self.active), step]
        tokens = _draw(self._allowed(logits, log_probs), draws)
        chosen = log_probs.gather(1, tokens[:, None]).squeeze(1).tolist()
        self.last[: self.active] = tokens
        ended = []
        for row, (token, logprob) in enumerate(zip(tokens.tolist(), chosen, strict=True)):
            place = self._order[row]
            self._ids[place].append(token)
            self._logprobs[place].append(logprob)
            if self._followers:
                self._followers[place].heard(self._ids[place])
            if self._ends(place, token, decode):
                ended.append(row)
        for row in reversed(ended):
            self._retire(row)

    def answers(self) -> list[Sampled]:
        """Return what each row said, in the order of the requests."""
        return [
            Sampled(tuple(ids), tuple(logprobs), finish)
            for ids, logprobs, finish in zip(self._ids, self._logprobs, self._finish, strict=True)
        ]

    def spoken(self) -> Iterator[Ids]:
        """Yield what each row of the memory has read: all but the last token that was said."""
        for place in self._order:
            yield (*self._requests[place].ids, *self._ids[place][:-1])

    def _allowed(self, logits: Tensor, log_probs: Tensor) -> Tensor:
        """Return how likely each token is among those that the run's grammar allows."""
        if not self._followers:
            return log_probs.exp()
        narrowed = logits.clone()
        for row, place in enumerate(self._order[: self.active]):
            self._followers[place].narrow(narrowed[row])
        return (narrowed / self._rules.temperature).softmax(-1)

    def _ends(self, place: int, token: int, decode: Callable[[Ids], str]) -> bool:
        said = self._ids[place]
        stops = self._rules.stop_sequences
        if token in self._rules.stop_ids or (
            stops and any(stop in decode(tuple(said)) for stop in stops)
        ):
            self._finish[place] = Finish.STOP
        else:
            return len(said) >= self._requests[place].max_tokens
        return True

    def _retire(self, row: int) -> None:
        last = self.active - 1
        if row != last:
            self.memory.swap(row, last)
            for rows in (self.last, self._draws):
                rows[[row, last]] = rows[[last, row]]
            order = self._order
            order[row], order[last] = order[last], order[row]
        self.memory.active = last


def _bytes_of_token(causal: PreTrainedModel, dtype: torch.dtype) -> int:
    config = causal.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)


def _draws(requests: Sequence[Request]) -> Tensor:
    """Return numbers in [0, 1): a row for each request, one for each token that it may get."""
    draws = torch.zeros(len(requests), max(request.max_tokens for request in requests))
    for row, request in enumerate(requests):
        # On the processor everywhere: the same draws whatever computes the rest.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        drawn = torch.rand(request.max_tokens, generator=generator, device="cpu")
        draws[row, : request.max_tokens] = drawn
    return draws


def _draw(probabilities: Tensor, draws: Tensor) -> Tensor:
    """Draw one token a row by inverting the distribution's sum (rows, vocabulary) at `draws`."""
    sums = probabilities.cumsum(-1)
    # Rounded sums end a little off 1; the last token that has any probability is the limit.
    return (
        torch.searchsorted(sums, draws[:, None] * sums[:, -1:])
        .squeeze(1)
        .clamp(max=probabilities.shape[1] - 1)
    )


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,  # noqa: ANN401 - what else an architecture hands over
) -> tuple[Tensor, None]:
    """Attend with queries of several heads to the keys that they share, without copying those."""
    attended = scaled_dot_product_attention(
        query.to(key.dtype), key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
    )
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(_ATTENTION, _attend)
