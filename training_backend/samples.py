"""Which rollouts a run's owner is shown, and how much of each: a run must not fill the database.

Of a step at most `PER_STEP` are kept, spread evenly from the worst to the best. That is done in each
of the first 100 steps, then in every tenth up to step 1000, then in every hundredth up to 10 000 and
so on, and in the last: 460 of a million steps.
Prompt and completion each have `CHARACTERS` characters, shared evenly by their messages.
"""

import math
from collections.abc import Mapping, Sequence

from freesolo.schemas import runs as wire
from training_backend.recipes.task import Sample

PER_STEP = 16
CHARACTERS = 8000
_MAX_MESSAGES = 40
_MAX_ERROR = 2000
_MAX_NAMES = 50


def due(step: int, total_steps: int) -> bool:
    """Say whether samples of `step` are kept."""
    every = 10 ** max(0, len(str(step)) - 2)
    return step % every == 0 or step == total_steps


def spread(samples: Sequence[Sample], count: int = PER_STEP) -> Sequence[Sample]:
    """Choose `count` samples, the worst first, the best last; the unscorable count as the worst."""
    ranked = sorted(samples, key=_rank)
    if len(ranked) <= count:
        return ranked
    return [ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count)]


def to_wire(sample: Sample) -> wire.Sample:
    """Return a sample as it is sent: texts cut, numbers that JSON can write."""
    return wire.Sample(
        example=sample.example,
        rollout=sample.rollout,
        messages=_messages(sample.messages),
        completion=_messages(sample.completion),
        reward=_finite(sample.reward),
        advantage=_finite(sample.advantage),
        finish=sample.finish,
        tokens=sample.tokens,
        error=None if sample.error is None else cut(_readable(sample.error), _MAX_ERROR),
        metrics={
            cut(_readable(name), 100): value
            for name, value in list(sample.metrics.items())[:_MAX_NAMES]
            if math.isfinite(value)
        },
    )


def cut(text: str, most: int) -> str:
    """Return `text` with its middle left out, if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head = most // 2
    tail = len(text) - (most - head)
    return f"{text[:head]} [... {tail - head:,} characters ...] {text[tail:]}"


def _rank(sample: Sample) -> float:
    reward = _finite(sample.reward)
    return -math.inf if reward is None else reward


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _messages(messages: Sequence[Mapping[str, object]]) -> list[wire.SampleMessage]:
    shown = [
        wire.SampleMessage(role=_readable(str(item.get("role", ""))), content=_content(item))
        for item in messages
    ]
    if len(shown) > _MAX_MESSAGES:
        half = _MAX_MESSAGES // 2
        note = f"[... {len(shown) - _MAX_MESSAGES:,} messages ...]"
        shown = [
            *shown[:half],
            wire.SampleMessage(role="system", content=note),
            *shown[-half:],
        ]
    share = CHARACTERS // max(1, len(shown))
    return [
        item.model_copy(update={"role": cut(item.role, 50), "content": cut(item.content, share)})
        for item in shown
    ]


def _content(message: Mapping[str, object]) -> str:
    content = message.get("content", "")
    if isinstance(content, str):
        return _readable(content)
    if isinstance(content, list):
        return _readable("".join(_part(part) for part in content))
    return "" if content is None else _readable(str(content))


def _part(part: object) -> str:
    """Return the text of a part of a message; a picture is only named."""
    if not isinstance(part, Mapping):
        return str(part)
    return str(part["text"]) if "text" in part else f"[{part.get('type', 'part')}]"


def _readable(text: str) -> str:
    """Replace halves of characters, which no encoding can write, and zeros, which PostgreSQL can't."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
