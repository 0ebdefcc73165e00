"""What is wrong with an environment's rows: in the files of `dataset/`, and once it is loaded.

The rules, each on what it compares:

- Rows are the same if all that they hold is, but for their ids.
- Rows contradict each other if they differ in nothing but `output`.
- Questions are the same if the messages are, whatever their spacing and case; they are similar if
  the words are too without the punctuation around them. A prompt that different training rows share
  is not compared: it does not show what is asked.

Of what was seen only fingerprints are kept, so that memory is bounded by about 200 bytes a row.
"""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from freesolo.datasets import TaskExample, target_messages
from freesolo.datasets.types import Message
from freesolo.package.dataset_report import fingerprint
from freesolo.package.dataset_rows import Budget, Row, RowFile, has_rows
from freesolo.package.findings import Finding, Severity
from freesolo.package.token_lengths import text_of
from freesolo.schemas.contents import DatasetFinding

_FEW_ROWS = 20
_MAX_DOCUMENT = 64 << 20
# Rows that a finding names; its message tells how many there are.
_MOST_NAMED = 1000
# Answers are labels if there are few of them, each often. Then one is not to crowd out the others.
_MOST_LABELS = 20
_ROWS_PER_LABEL = 5
_LARGEST_SHARE = 0.9
_HELD_OUT = frozenset(
    {"dev", "eval", "evaluation", "heldout", "test", "val", "valid", "validation"}
)
_AROUND_WORDS = ".,;:!?\"'()[]{}\u2018\u2019\u201c\u201d"
_IDS = frozenset({"id", "_id"})


@dataclass(frozen=True)
class DataFacts:
    """What was counted. `largest_share` is that of the most frequent gold answer, where answers are
    labels; else None.
    """

    rows: int
    labelled: int
    distinct_outputs: int
    largest_share: float | None = None
    cases: int = 0


@dataclass
class _FileFacts:
    path: str
    rows: int = 0
    without_input: list[int | None] = field(default_factory=list)
    questions: set[int] = field(default_factory=set)


def check_dataset_files(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    """Yield what is wrong with the files of `dataset/`, each named with its line.

    Each row is read once and none is kept.
    """
    held_out_by_file = "evaluations.py" not in paths
    seen: list[_FileFacts] = []
    for path in filter(has_rows, paths):
        with (root / path).open("rb") as stream:
            size = (root / path).stat().st_size
            rows = RowFile(
                path, stream, Budget(size + 1, size + 1, line=size, document=_MAX_DOCUMENT)
            )
            facts = _file_facts(rows)
        yield from _unreadable(rows)
        yield from _without_input(facts)
        seen.append(facts)
    if held_out_by_file:
        yield from _shared_questions(seen)


@dataclass(frozen=True)
class RowChecks:
    """What was counted and found. `contradictions` are rows that ask what an earlier one asks and have
    another gold answer, each with that earlier one: whether both are right, only a reward knows.
    """

    facts: DataFacts
    findings: list[Finding]
    contradictions: list[tuple[int, int]]


def check_rows(examples: Iterable[TaskExample], *, multi_turn: bool) -> RowChecks:
    """Check the rows that an environment loads, each looked at once."""
    seen = _Seen()
    for row, example in enumerate(examples):
        seen.add(row, example)
    findings = [*seen.repetitions(), *seen.empties()]
    if seen.rows < _FEW_ROWS:
        message = f"There are only {seen.rows} rows, which is few to learn from."
        findings.append(Finding("few_rows", Severity.INFO, message))
    share = None if multi_turn else seen.largest_share()
    if share is not None and share >= _LARGEST_SHARE:
        message = (
            f"{share:.0%} of the gold answers are the same, so whoever always says it is right."
        )
        findings.append(Finding("labels_unbalanced", Severity.WARNING, message))
    facts = DataFacts(seen.rows, seen.outputs.total(), len(seen.outputs), share)
    return RowChecks(facts, findings, seen.contradictions())


def contradictory(contradictions: Sequence[tuple[int, int]], *, all_right: bool) -> Finding:
    """Return the finding for rows that contradict others; with `all_right` the reward takes both."""
    message = (
        f"{len(contradictions)} rows ask what an earlier one asks, and have another gold answer"
        f"{'; the reward takes both' if all_right else ''}."
    )
    severity = Severity.INFO if all_right else Severity.WARNING
    return of_rows("contradictory_rows", severity, message, (row for row, _ in contradictions))


@dataclass(frozen=True)
class Question:
    """What a prompt asks, as fingerprints of this process: of the same and of similar words, and of
    the row that it was made of.
    """

    exact: int
    similar: int
    row: int = 0


def question_of(messages: Sequence[Message], example: TaskExample | None = None) -> Question:
    """Return what a prompt asks, made of an example of the dataset."""
    row = fingerprint([example.input, example.metadata]) if example else 0
    said = (f"{message.get('role')} {text_of(message)}" for message in messages)
    text = fold(" ".join(said))
    words = (word.strip(_AROUND_WORDS) for word in text.split())
    return Question(hash(text), hash(" ".join(filter(None, words))), row)


def check_held_out(prompts: Mapping[int, Question], cases: Iterable[Question]) -> Iterator[Finding]:
    """Yield the training rows, of those in `prompts`, that ask what a held-out case asks."""
    exact, similar = set(), set()
    for case in cases:
        exact.add(case.exact)
        similar.add(case.similar)
    often = Counter(exact for exact, _ in {(each.exact, each.row) for each in prompts.values()})
    alone = {row: each for row, each in prompts.items() if often[each.exact] == 1}
    leaked = [row for row, each in alone.items() if each.exact in exact]
    if leaked:
        message = f"{len(leaked)} training rows ask what a held-out case asks."
        yield of_rows("heldout_overlap", Severity.WARNING, message, leaked)
    near = [
        row for row, each in alone.items() if each.exact not in exact and each.similar in similar
    ]
    if near:
        message = f"{len(near)} training rows ask nearly what a held-out case asks."
        yield of_rows("heldout_similar", Severity.INFO, message, near)


def check_think_tags(examples: Iterable[TaskExample], config: str) -> Iterator[Finding]:
    """Yield the rows whose gold answers show no thinking, for a config that trains it."""
    missing = [
        row
        for row, example in enumerate(examples)
        if example.output is not None and not _thinks(example.output)
    ]
    if missing:
        message = (
            f"{len(missing)} gold answers lack <think>...</think>, but {config} trains thinking."
        )
        yield of_rows("think_tags_missing", Severity.WARNING, message, missing)


def places(
    root: Path, paths: Sequence[str], records: Iterable[Row]
) -> dict[int, tuple[str, int | None]]:
    """Return the file and the line of each of `records` that stands in `dataset/` as it is, by its
    fingerprint.
    """
    wanted = {fingerprint(record) for record in records}
    found: dict[int, tuple[str, int | None]] = {}
    for path in filter(has_rows, paths) if wanted else ():
        size = (root / path).stat().st_size
        with (root / path).open("rb") as stream:
            rows = RowFile(
                path, stream, Budget(size + 1, size + 1, line=size, document=_MAX_DOCUMENT)
            )
            for row in rows:
                key = fingerprint(row)
                if key in wanted:
                    found.setdefault(key, (path, rows.line))
    return found


def fold(text: str) -> str:
    """Return a text without what spacing, case and the ways to write a character make of it."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class _Seen:
    """What is known of the rows after some of them."""

    def __init__(self) -> None:
        self.rows = 0
        self.outputs: Counter[int] = Counter()
        self._contents: set[int] = set()
        self._near: set[int] = set()
        self._first: dict[int, int] = {}
        self._repeated = array("L")
        self._similar = array("L")
        self._contradicting = array("L")
        self._contradicted = array("L")
        self._no_question = array("L")
        self._no_answer = array("L")

    def add(self, row: int, example: TaskExample) -> None:
        """Take a row in."""
        self.rows += 1
        rest = {
            name: value
            for name, value in example.record.items()
            if name not in _IDS and name not in ("input", "output")
        }
        question = fingerprint([example.input, example.metadata, rest])
        answer = fingerprint(example.output)
        if not example.input.strip() and not (rest or example.metadata):
            self._no_question.append(row)
        if example.output is not None:
            self.outputs[answer] += 1
            if _says_nothing(example.output):
                self._no_answer.append(row)
        self._compare(row, question, answer)
        near = fingerprint([fold(example.input), example.metadata, rest])
        if near in self._near and question not in self._first:
            self._similar.append(row)
        self._near.add(near)
        self._first.setdefault(question, row)

    def _compare(self, row: int, question: int, answer: int) -> None:
        content = hash((question, answer))
        if content in self._contents:
            self._repeated.append(row)
        elif question in self._first:
            self._contradicting.append(row)
            self._contradicted.append(self._first[question])
        self._contents.add(content)

    def repetitions(self) -> Iterator[Finding]:
        """Yield what is there more than once."""
        if self._repeated:
            message = f"{len(self._repeated)} rows repeat an earlier one."
            yield of_rows("duplicate_rows", Severity.WARNING, message, self._repeated)
        if self._similar:
            message = f"{len(self._similar)} rows have the input of an earlier one but for case and spacing."
            yield of_rows("similar_rows", Severity.INFO, message, self._similar)

    def contradictions(self) -> list[tuple[int, int]]:
        """Return the rows that contradict an earlier one, each with that one."""
        return list(zip(self._contradicting, self._contradicted, strict=True))

    def empties(self) -> Iterator[Finding]:
        """Yield where nothing is said."""
        if self._no_question:
            message = (
                f"{len(self._no_question)} rows have an empty `input` and nothing else to ask with."
            )
            yield of_rows("input_empty", Severity.WARNING, message, self._no_question)
        if self._no_answer:
            message = f"{len(self._no_answer)} gold answers are empty."
            yield of_rows("output_empty", Severity.WARNING, message, self._no_answer)

    def largest_share(self) -> float | None:
        """Return the share of the most frequent gold answer; None unless answers are labels."""
        labelled = self.outputs.total()
        if labelled < _FEW_ROWS or len(self.outputs) > min(
            _MOST_LABELS, labelled // _ROWS_PER_LABEL
        ):
            return None
        return self.outputs.most_common(1)[0][1] / labelled


def _file_facts(rows: RowFile) -> _FileFacts:
    facts = _FileFacts(rows.path)
    for row in rows:
        facts.rows += 1
        if row.get("input") is None:
            facts.without_input.append(rows.line)
        else:
            facts.questions.add(fingerprint(_folded_values(row)))
    return facts


def _folded_values(row: Row) -> dict[str, object]:
    return {
        name: fold(value) if isinstance(value, str) else value
        for name, value in row.items()
        if name != "output" and name not in _IDS
    }


def _unreadable(rows: RowFile) -> Iterator[Finding]:
    other = [each for each in rows.findings if _is_other_json(each)]
    yield from (_not_read(each) for each in other[:1])
    for each in (each for each in rows.findings if each not in other):
        place = f"Line {each.line} of {each.path}" if each.line else each.path
        if each.code == "too_large":
            yield _not_read(each)
        elif each.code == "extra_values":
            message = f"{place} has more values than columns; is a value with a comma not quoted?"
            yield Finding("extra_values", Severity.WARNING, message, path=each.path, line=each.line)
        else:
            message = f"{place} cannot be read: {each.message.rstrip('.')}."
            yield Finding(
                "dataset_unreadable", Severity.ERROR, message, path=each.path, line=each.line
            )


def _not_read(each: DatasetFinding) -> Finding:
    message = f"{each.path} was not looked into: {each.message.rstrip('.')}."
    return Finding("not_read", Severity.INFO, message, path=each.path, line=each.line)


def _is_other_json(finding: DatasetFinding) -> bool:
    """Say whether a file of JSON holds something else than rows: authors keep other things there."""
    in_list = finding.code == "broken_row" and finding.path.lower().endswith(".json")
    return finding.code == "no_list" or in_list


def _without_input(facts: _FileFacts) -> Iterator[Finding]:
    """Yield rows that lack what others of their file have. A file of another shape has none."""
    if 0 < len(facts.without_input) < facts.rows:
        message = f"{len(facts.without_input)} rows of {facts.path} have no `input`."
        yield Finding(
            "input_missing", Severity.ERROR, message, path=facts.path, line=facts.without_input[0]
        )


def _shared_questions(files: Sequence[_FileFacts]) -> Iterator[Finding]:
    held_out = [each for each in files if _is_held_out(each.path)]
    for other in (each for each in files if not _is_held_out(each.path)):
        for each in held_out:
            if shared := len(other.questions & each.questions):
                message = f"{shared} questions of {each.path} are in {other.path} too."
                yield Finding("heldout_overlap", Severity.WARNING, message, path=each.path)


def _is_held_out(path: str) -> bool:
    name = PurePosixPath(path).stem.casefold().replace("-", "").replace("_", "")
    return name in _HELD_OUT


def _thinks(output: object) -> bool:
    said = [each for each in _assistant(output) if "<think>" in each and "</think>" in each]
    return bool(said)


def _says_nothing(output: object) -> bool:
    return not any(text.strip() for text in _assistant(output))


def _assistant(output: object) -> list[str]:
    """Return what the model says in a gold answer; messages that are none are told of elsewhere."""
    try:
        messages = target_messages(output)
    except ValueError:
        return ["?"]
    return [
        text_of(each) or ("(calls a tool)" if each.get("tool_calls") else "")
        for each in messages
        if each["role"] == "assistant"
    ]


def of_rows(code: str, severity: Severity, message: str, rows: Iterable[int]) -> Finding:
    """Return a finding about rows; of very many only the first are named."""
    return Finding(code, severity, message, tuple(islice(rows, _MOST_NAMED)))
