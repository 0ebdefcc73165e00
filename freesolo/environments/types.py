"""What environments take and return.

Constructors neither convert nor check: `RewardResult(score="0.5")` keeps its text. Whoever uses a
value judges it, and a reward that is no finite number makes its rollout unscorable.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from freesolo.datasets.types import Message


@dataclass(frozen=True)
class EnvironmentTurn:
    """One message of an episode, by the model or by the environment."""

    role: str
    content: str | list[Any]
    name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_message(self) -> Message:
        """Return the turn as a chat message: role and content."""
        return {"role": self.role, "content": self.content}

    def to_dict(self) -> dict[str, Any]:
        """Return the turn as JSON, without what is empty."""
        optional = {"name": self.name, "metadata": self.metadata}
        return {**self.to_message(), **{key: value for key, value in optional.items() if value}}


@dataclass(frozen=True)
class EnvironmentStepResult:
    """How the environment answers one action of the model.

    `messages` are what it says back. `final_response_text` replaces the action as the text that is
    scored; None keeps the action.
    """

    done: bool = True
    messages: tuple[Message, ...] = ()
    final_response_text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvironmentEpisode:
    """A rollout from its first message to its last. `latency_ms` is in milliseconds."""

    messages: tuple[Message, ...]
    response_text: str
    turns: tuple[EnvironmentTurn, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    latency_ms: float | None = None
    total_tokens: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the episode as JSON, its messages reduced to role and content."""
        episode: dict[str, Any] = {
            "response_text": self.response_text,
            "messages": [
                {"role": message.get("role"), "content": message.get("content")}
                for message in self.messages
            ],
        }
        if self.turns:
            episode["turns"] = [turn.to_dict() for turn in self.turns]
        if self.metadata:
            episode["metadata"] = self.metadata
        measures = {"latency_ms": self.latency_ms, "total_tokens": self.total_tokens}
        return episode | {key: value for key, value in measures.items() if value is not None}


@dataclass(frozen=True)
class RewardMetric:
    """One part of a reward, kept for people to look at."""

    name: str
    score: float | None = None
    value: object | None = None
    success: bool | None = None
    threshold: float | None = None
    weight: float | None = None
    reason: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RewardResult:
    """How good an answer is. `score` is what training raises; more is better."""

    score: float
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = "environment_reward"
    success: bool | None = None
    threshold: float | None = None
    value: object | None = None
    reason: str | None = None
    error: str | None = None
    return_type: Literal["numeric", "binary"] = "numeric"
    metrics: tuple[RewardMetric, ...] = ()
    latency_ms: float | None = None
    total_tokens: int | None = None

    def resolved_success(self) -> bool:
        """Say whether the answer solved the task.

        The first that applies: `success`; False after an `error`; the score has reached
        `threshold`; the score is positive.
        """
        if self.success is not None:
            return self.success
        if self.error:
            return False
        if self.threshold is not None:
            return self.score >= self.threshold
        return self.score > 0.0

    def resolved_value(self) -> object:
        """Return what to show: `value` if set, success if the reward is binary, else the score."""
        if self.value is not None:
            return self.value
        return self.resolved_success() if self.return_type == "binary" else self.score
