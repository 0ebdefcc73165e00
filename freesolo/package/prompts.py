"""What an environment asks, row by row, and how long that is for the base models of its configs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freesolo.datasets import TaskExample
from freesolo.datasets.types import Message
from freesolo.domain.catalog import BUILT_IN, BaseModelEntry
from freesolo.domain.train_spec import TrainSpec, context_tokens
from freesolo.errors import EnvironmentFailed
from freesolo.package.dataset_checks import Question, of_rows, question_of
from freesolo.package.findings import Finding, Severity
from freesolo.package.report import LengthFacts
from freesolo.package.token_lengths import TokenCounter, counter_for, text_of
from freesolo.runtime.client import EnvironmentHost

# Each row is a call of the author's code or two.
_MOST_ROWS = 5000
_BATCH = 256
# Each failure may have cost a whole timeout.
_ENOUGH_FAILURES = 3


@dataclass(frozen=True)
class BaseModel:
    """A base model that is known, and its folder if it is on this machine."""

    entry: BaseModelEntry
    folder: Path | None = None


# From the id of a base model to what is known of it.
FindModel = Callable[[str], BaseModel | None]


def built_in_model(model_id: str) -> BaseModel | None:
    """Return a base model of the built-in catalog, wherever its files may be."""
    entry = BUILT_IN.get(model_id)
    return BaseModel(entry) if entry else None


@dataclass(frozen=True)
class Prompts:
    """What rows ask, by row; what was found on the way; and tokens by base model and row."""

    questions: dict[int, Question]
    findings: list[Finding]
    tokens: dict[str, dict[int, int]]


def read_prompts(
    host: EnvironmentHost, examples: Sequence[TaskExample], counters: Mapping[str, TokenCounter]
) -> Prompts:
    """Ask for the prompts of all rows, or of some spread over them, and for their gold answers.

    After a few failures no more rows are asked for.
    """
    reading = _Reading(host, counters)
    for row in spread(range(len(examples)), _MOST_ROWS):
        reading.read(row, examples[row])
        if len(reading.failures) == _ENOUGH_FAILURES:
            break
    reading.count()
    return Prompts(reading.questions, list(reading.findings()), reading.tokens)


def counters_for(specs: Mapping[str, TrainSpec], find_model: FindModel) -> dict[str, TokenCounter]:
    """Return a counter for each base model of these configs that is known."""
    models = {spec.model: find_model(spec.model) for spec in specs.values()}
    return {name: counter_for(model.folder) for name, model in models.items() if model}


def check_lengths(
    specs: Mapping[str, TrainSpec],
    find_model: FindModel,
    counters: Mapping[str, TokenCounter],
    tokens: Mapping[str, Mapping[int, int]],
) -> tuple[list[LengthFacts], list[Finding]]:
    """Compare the tokens of rows with what each config allows."""
    facts: list[LengthFacts] = []
    findings: list[Finding] = []
    for path, spec in specs.items():
        model = find_model(spec.model)
        counted = tokens.get(spec.model)
        if model is None:
            message = (
                f"{spec.model} is not in the built-in catalog, so no row's tokens were counted."
            )
            findings.append(Finding("model_unknown", Severity.INFO, message, path=path))
        elif counted:
            limit = context_tokens(spec.train, model.entry)
            beyond = [row for row, count in counted.items() if count > limit]
            measured = _lengths(
                path, spec.model, counted, limit=limit, exact=counters[spec.model].exact
            )
            facts.append(measured)
            findings += _too_long(measured, beyond)
    return facts, findings


def spread(rows: Sequence[int], most: int) -> Sequence[int]:
    """Return at most `most` of `rows`, evenly spread and always the same ones."""
    if len(rows) <= most:
        return rows
    return [rows[index * len(rows) // most] for index in range(most)]


@dataclass
class _Reading:
    """What is known after some rows."""

    host: EnvironmentHost
    counters: Mapping[str, TokenCounter]
    questions: dict[int, Question] = field(default_factory=dict)
    empty: list[int] = field(default_factory=list)
    failures: list[tuple[int, EnvironmentFailed]] = field(default_factory=list)
    waiting: dict[int, list[Message]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens: dict[str, dict[int, int]] = {name: {} for name in self.counters}

    def read(self, row: int, example: TaskExample) -> None:
        """Ask for one row."""
        try:
            prompt = self.host.start_episode(example)
            gold = [] if example.output is None else self.host.sft_completion(example)
        except EnvironmentFailed as error:
            self.failures.append((row, error))
            return
        self.questions[row] = question_of(prompt, example)
        if not any(_says_something(message) for message in prompt):
            self.empty.append(row)
        if self.counters:
            self.waiting[row] = [*prompt, *gold]
            if len(self.waiting) == _BATCH:
                self.count()

    def count(self) -> None:
        """Count the tokens of the rows that wait for it."""
        for name, counter in self.counters.items():
            counts = counter.count(list(self.waiting.values()))
            self.tokens[name].update(zip(self.waiting, counts, strict=True))
        self.waiting.clear()

    def findings(self) -> Iterator[Finding]:
        """Yield what was wrong with prompts and gold answers."""
        if self.failures:
            error = self.failures[0][1]
            rows = tuple(row for row, _ in self.failures)
            yield Finding("prompt_failed", Severity.ERROR, error.message, rows, error.traceback)
        if self.empty:
            message = f"{len(self.empty)} prompts hold no text."
            yield of_rows("prompt_empty", Severity.WARNING, message, self.empty)


def _says_something(message: Message) -> bool:
    # Of parts some may be images, which say enough.
    return isinstance(message.get("content"), list) or bool(text_of(message).strip())


def _lengths(
    config: str, model: str, counted: Mapping[int, int], *, limit: int, exact: bool
) -> LengthFacts:
    ordered = sorted(counted.values())
    return LengthFacts(
        config=config,
        model=model,
        exact=exact,
        rows=len(ordered),
        median=ordered[(len(ordered) - 1) // 2],
        p95=ordered[-(-95 * len(ordered) // 100) - 1],
        longest=ordered[-1],
        limit=limit,
        beyond=sum(count > limit for count in ordered),
    )


def _too_long(lengths: LengthFacts, rows: Sequence[int]) -> Iterator[Finding]:
    if not rows:
        return
    severity = Severity.WARNING if lengths.exact else Severity.INFO
    if lengths.exact and lengths.beyond == lengths.rows:
        severity = Severity.ERROR
    counted = "have" if lengths.exact else "may have"
    message = (
        f"{lengths.beyond} of {lengths.rows} rows {counted} more than the {lengths.limit} tokens that "
        f"{lengths.config} allows (the longest {lengths.longest}); training leaves them out."
    )
    yield of_rows("rows_too_long", severity, message, rows)
