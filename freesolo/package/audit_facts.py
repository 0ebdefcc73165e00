"""What a reward audit measured, apart from what it makes of it."""

from dataclasses import dataclass

from freesolo.package.findings import Finding


@dataclass(frozen=True)
class KindFacts:
    """How the reward took one kind of answer.

    `wrong` says whether such an answer is surely wrong; the others are variants of the gold answer
    that a reward may take or refuse. `as_gold` is the share of them that got at least the reward of
    their row's gold answer.
    """

    kind: str
    wrong: bool
    answers: int
    mean_reward: float
    as_gold: float


@dataclass(frozen=True)
class Separation:
    """How often a row's gold answer gets more than a wrong answer to it, ties counting half: the
    area under the ROC curve, with its 95 % interval. 1 is perfect, 0.5 is a blind reward.
    """

    auc: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Seconds of the author's code for one answer, and for one step of GRPO with `rollouts`."""

    p50: float
    p99: float
    rollouts: int
    step_seconds: float


@dataclass(frozen=True)
class ScoredAnswer:
    """A wrong answer that got too much. `text` and `gold` are cut to what a report can show."""

    row: int
    kind: str
    text: str
    reward: float
    gold: str
    gold_reward: float


@dataclass(frozen=True)
class AuditFacts:
    """The measured side of an audit. Its fields are JSON once given to `dataclasses.asdict`.

    `rows` of the `labelled` ones were tried. `kinds` begins with the gold answer itself. What could
    not be measured is None. `worst` is the answers that gain most over their gold answer, the
    worst first.
    """

    rows: int
    labelled: int
    separation: Separation | None = None
    kinds: tuple[KindFacts, ...] = ()
    latency: Latency | None = None
    worst: tuple[ScoredAnswer, ...] = ()


@dataclass(frozen=True)
class AuditResult:
    """What an audit found and what it measured; `facts` is None if no reward was asked."""

    findings: tuple[Finding, ...]
    facts: AuditFacts | None = None
