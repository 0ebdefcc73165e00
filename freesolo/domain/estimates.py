"""What a run will take: steps, tokens, time, memory and money, before it is submitted.

Every figure says where it comes from, and what was assumed for want of knowing stands with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.devices import Device
from freesolo.domain.memory import Knob, Memory, RowLengths, knobs_that_fit, peak_memory
from freesolo.domain.throughput import Span, Throughput
from freesolo.domain.train_spec import (
    GrpoSpec,
    OpdSpec,
    TrainSpec,
    completion_tokens,
    context_tokens,
    rollouts_per_step,
    save_beyond,
    total_steps,
)
from freesolo.errors import InvalidTrainSpec, LimitExceeded, Problem

# Where nobody has told.
ASSUMED_EXAMPLES = 1000
ASSUMED_LENGTHS = RowLengths(prompt=256, answer=64, longest_prompt=512, longest_answer=128)
ASSUMED_TURNS = 4
# Of an answer's limit: what a model says at least, in the middle, at the most.
_SAID = Span(0.1, 0.5, 1.0)
_HOUR = 3600
_WORDS = {
    "weights": "the base model's weights take",
    "adapter": "the adapter and its optimizer take",
    "activations": "the activations of a pass take",
    "logits": "the scores of the vocabulary take",
    "rollouts": "the keys and values of a step's rollouts take",
}


@dataclass(frozen=True)
class Rows:
    """The examples that a run is over. `known` is False where their lengths are an assumption.

    `assumptions` say in words what was assumed of them.
    """

    count: int
    lengths: RowLengths
    known: bool
    assumptions: tuple[str, ...] = ()

    @property
    def least(self) -> RowLengths:
        """What the lengths are at the least: a run that does not fit even so is refused."""
        return self.lengths if self.known else RowLengths(1, 1, 1, 1)


@dataclass(frozen=True)
class Tokens:
    """Tokens over a whole run: of prompts, those sampled, and those that go through the update."""

    prompt: int
    sampled: int
    trained: int


@dataclass(frozen=True)
class Seconds:
    """How long each phase takes over a whole run, and all of them together."""

    start_up: Span
    rollouts: Span
    scoring: Span
    update: Span
    total: Span


@dataclass(frozen=True)
class Price:
    """Pico-dollars for what is trained and sampled; `most` if every answer is as long as it may be.

    The prompts of rollouts cost nothing apart: each is trained on once for its group, and paid there.
    """

    trained: int
    sampled: int
    total: int
    most: int


@dataclass(frozen=True)
class Estimate:
    """What a run will take on a class of devices.

    `seconds` is None where no figure is known for the device, and `memory` where the base model's
    shape is not. `fits` is None where one of the two sizes is unknown; `knobs` say what to lower if
    a run does not fit; none if that is not enough. Sizes are bytes, `price` is
    pico-dollars.
    """

    device: str
    examples: int
    steps: int
    tokens: Tokens
    seconds: Seconds | None
    device_hours: Span | None
    price: Price
    source: str
    memory: Memory | None
    peak_memory: int | None
    device_memory: int | None
    fits: bool | None
    knobs: tuple[Knob, ...]
    assumptions: tuple[str, ...] = ()


def estimate(
    spec: TrainSpec,
    model: BaseModelEntry,
    rows: Rows,
    device: Device,
    throughput: Throughput | None,
) -> Estimate:
    """Estimate a run from its config, its rows, and the pace of a device.

    Seconds are tokens by seconds a token for the update and the rollouts, rollouts by seconds a
    rollout for the scoring, and the start-up; each with the span of its pace, that of the rollouts
    with the span of the answers' lengths besides.
    """
    examples = min(rows.count, spec.train.max_examples or rows.count)
    steps = total_steps(spec.train, examples)
    least, expected, most = (
        _tokens(spec, model, rows.lengths, steps, share)
        for share in (_SAID.low, _SAID.expected, _SAID.high)
    )
    counts = (least, expected, most)
    seconds = _seconds(spec, steps, counts, throughput) if throughput else None
    memory = peak_memory(spec, model, rows.lengths, gpu=device.gpu)
    fits = None if memory is None or device.memory is None else memory.total <= device.memory
    knobs: tuple[Knob, ...] = ()
    if fits is False and device.memory is not None:
        knobs = knobs_that_fit(spec, model, rows.lengths, gpu=device.gpu, room=device.memory)
    return Estimate(
        device=device.name,
        examples=examples,
        steps=steps,
        tokens=expected,
        seconds=seconds,
        device_hours=seconds.total.times(1 / _HOUR) if seconds else None,
        price=_price(model, expected, most),
        source=throughput.source if throughput else f"nothing was measured on {device.name} yet",
        memory=memory,
        peak_memory=memory.total if memory else None,
        device_memory=device.memory,
        fits=fits,
        knobs=knobs,
        assumptions=(
            *rows.assumptions,
            *_own_assumptions(spec, rows.lengths),
            *_unreachable_saves(spec, examples, steps),
        ),
    )


def refuse_misfit(
    spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, device: Device
) -> None:
    """Raise `InvalidTrainSpec` if a run cannot fit into a device's memory, with the key to lower."""
    memory = peak_memory(spec, model, lengths, gpu=device.gpu)
    if memory is None or device.memory is None or memory.total <= device.memory:
        return
    knobs = knobs_that_fit(spec, model, lengths, gpu=device.gpu, room=device.memory)
    message = _misfit(memory, f"{device.name} has {gigabytes(device.memory)}")
    problems = [Problem(knob.key, message, "memory") for knob in knobs]
    raise InvalidTrainSpec(
        message, hint=way_out(knobs), problems=problems or [Problem("model", message, "memory")]
    )


def require_room(
    spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, *, gpu: bool, room: int
) -> None:
    """Raise `LimitExceeded` if a run needs more than the `room` bytes that are free for it."""
    memory = peak_memory(spec, model, lengths, gpu=gpu)
    if memory is None or memory.total <= room:
        return
    knobs = knobs_that_fit(spec, model, lengths, gpu=gpu, room=room)
    raise LimitExceeded(_misfit(memory, f"{gigabytes(room)} are free"), hint=way_out(knobs))


def way_out(knobs: Sequence[Knob]) -> str:
    """Say what to do about a run that does not fit."""
    if not knobs:
        return "Use a smaller model, or a device with more memory: no key or two make it fit."
    values = " and ".join(f"`{knob.key}` at {knob.fits}" for knob in knobs)
    now = " and ".join(str(knob.now) for knob in knobs)
    return f"It fits with {values}, now {now}."


def gigabytes(size: int) -> str:
    """Write a number of bytes as people read it."""
    return f"{size / 1e9:.1f} GB"


def _misfit(memory: Memory, there: str) -> str:
    part = memory.largest
    size = int(getattr(memory, part))
    return (
        f"The run needs {gigabytes(memory.total)} of memory, and {there}; "
        f"{_WORDS[part]} {gigabytes(size)} of it."
    )


def _tokens(
    spec: TrainSpec, model: BaseModelEntry, lengths: RowLengths, steps: int, said: float
) -> Tokens:
    """Count the tokens of a run; of what the model may say in a turn it says the share `said`."""
    context = context_tokens(spec.train, model)
    if isinstance(spec, GrpoSpec | OpdSpec):
        rollouts = steps * rollouts_per_step(spec.train)
        prompt = min(lengths.prompt, context - 1)
        answer = max(1, round(said * completion_tokens(spec))) * lengths.turns
        sampled = rollouts * min(answer, context - prompt)
        # As training counts: a prompt once for its group, whether or not it is computed so.
        prompts = steps * spec.train.batch_size * prompt
        return Tokens(prompts, sampled, prompts + sampled)
    rows = steps * spec.train.batch_size
    # Rows that are longer than the context are left out.
    prompt = min(lengths.prompt, context)
    trained = min(lengths.prompt + lengths.answer, context)
    return Tokens(rows * prompt, 0, rows * trained)


def _seconds(
    spec: TrainSpec, steps: int, tokens: tuple[Tokens, Tokens, Tokens], pace: Throughput
) -> Seconds | None:
    none, scoring, rollouts = Span(0, 0, 0), Span(0, 0, 0), Span(0, 0, 0)
    if isinstance(spec, GrpoSpec | OpdSpec):
        if pace.sampled is None:
            return None
        rollouts = _by_tokens([one.sampled for one in tokens], pace.sampled)
        scoring = pace.scoring.times(steps * rollouts_per_step(spec.train))
    update = _by_tokens([one.trained for one in tokens], pace.trained)
    total = sum((pace.start_up, rollouts, scoring, update), start=none)
    return Seconds(pace.start_up, rollouts, scoring, update, total)


def _by_tokens(counts: list[int], pace: Span) -> Span:
    low, expected, high = counts
    return Span(low * pace.low, expected * pace.expected, high * pace.high)


def _price(model: BaseModelEntry, tokens: Tokens, most: Tokens) -> Price:
    trained, sampled = tokens.trained * model.price_train, tokens.sampled * model.price_output
    return Price(
        trained=trained,
        sampled=sampled,
        total=trained + sampled,
        most=most.trained * model.price_train + most.sampled * model.price_output,
    )


def _unreachable_saves(spec: TrainSpec, examples: int, steps: int) -> tuple[str, ...]:
    # Only the environment itself knows how many rows it has: the job refuses what this foresees.
    beyond = save_beyond(spec.train, steps)
    if beyond is None:
        return ()
    return (
        f"`train.save_at_steps` names step {beyond}, and {examples} rows make {steps} steps: with "
        "no more than that the run will be refused.",
    )


def _own_assumptions(spec: TrainSpec, lengths: RowLengths) -> tuple[str, ...]:
    if not isinstance(spec, GrpoSpec | OpdSpec):
        return ()
    expected = round(_SAID.expected * completion_tokens(spec))
    said = [f"Answers have {expected} tokens, half of what they may have."]
    if lengths.turns > 1:
        said.append(f"An episode has {lengths.turns} turns.")
    return tuple(said)
