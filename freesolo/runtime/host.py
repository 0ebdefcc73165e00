"""The child side of an environment host: runs one environment's code and answers calls on it.

Started by path, in the environment's own interpreter, with the number of a connected socket as its
argument; it needs nothing but the standard library and the contract that lies beside it. A message
is four bytes of length, big-endian, and as many of JSON. The parent asks one call at a time::

    -> {"method": "score_responses", "arguments": {...}}
    <- {"started": true}                                    now its deadline runs
    <- {"value": ...}   or   {"raised": "ValueError: ...", "traceback": "..."}

A call on several items may tell of each in between, when it begins and what came of it::

    <- {"items": [{"item": 3}, {"item": 3, "value": ...}, {"item": 4}, ...]}

The first call is `load`. Standard output and error belong to the author. The process ends when the
parent closes the socket, and with the parent.
"""

import ctypes
import json
import math
import numbers
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from freesolo.datasets import TaskExample
    from freesolo.environments import Environment, EnvironmentEpisode
    from freesolo.environments.grading import HeldOut

Item = TypeVar("Item")

MAX_MESSAGE_BYTES = 64 * 1024**2

# As JSON, which is text within JSON here: four bytes a character still fit into a message.
MAX_ROW_CHARS = 12 * 1024**2
_PAGE_CHARS = 1024**2
# Of one reward or step, as JSON.
_METADATA_CHARS = 1024**2
_LENGTH = struct.Struct(">I")
_TELL_SECONDS = 0.05
TRACEBACK_CHARS = 20_000
SUMMARY_CHARS = 500
_PR_SET_PDEATHSIG = 1


def send(connection: socket.socket, message: object) -> None:
    """Write one message. Raise `TypeError` or `ValueError` if it is not JSON, or too long."""
    body = json.dumps(message, ensure_ascii=False).encode(errors="surrogatepass")
    if len(body) > MAX_MESSAGE_BYTES:
        raise ValueError(f"{len(body)} bytes are more than the {MAX_MESSAGE_BYTES} of a message")
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(read: Callable[[int], bytes]) -> Any:  # noqa: ANN401 - JSON, judged by the caller
    """Read one message through `read`, which returns exactly as many bytes as it is asked for.

    Raise `EOFError` if the other side is gone, `ValueError` if what it sent is no message.
    """
    (length,) = _LENGTH.unpack(read(_LENGTH.size))
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"A message of {length} bytes is too long")
    return json.loads(read(length))


def answer_document(answer: str) -> object:
    """Return an answer as JSON."""
    from freesolo.environments.answers import Answer

    if not isinstance(answer, Answer):
        return answer
    return {"completion": answer.completion, "thinking": answer.thinking, "raw": answer.raw}


def answer_of(document: Any) -> str:  # noqa: ANN401 - JSON
    """Return the answer that `answer_document` was given: text, with its thinking if there was any."""
    from freesolo.environments.answers import Answer

    if isinstance(document, str):
        return document
    return Answer(document["completion"], thinking=document["thinking"], raw=document["raw"])


class _Telling:
    """Tells of the items of one call, together at the end, or in between if that takes a while."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._notes: deque[dict[str, Any]] = deque()
        self._sending = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> "_Telling":
        threading.Thread(target=self._tell_at_times, name="telling", daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._tell()

    def note(self, note: dict[str, Any]) -> None:
        """Take down what is to be told of an item. All of it is JSON, and fits into a message."""
        self._notes.append(note)

    def _tell_at_times(self) -> None:
        while not self._over.wait(_TELL_SECONDS):
            self._tell()

    def _tell(self) -> None:
        with self._sending:
            notes = [self._notes.popleft() for _ in range(len(self._notes))]
            if not notes:
                return
            try:
                send(self._connection, {"items": notes})
            except ValueError:
                for note in notes:
                    send(self._connection, {"items": [note]})


class Host:
    """The environment, once loaded, and the calls that the parent may make on it."""

    def __init__(self, connection: socket.socket, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._environment: Environment | None = None
        self._scorers: ThreadPoolExecutor | None = None
        self._examples: list[TaskExample] | None = None
        self._suites: list[tuple[HeldOut, list[TaskExample]]] | None = None

    def serve(self) -> None:
        """Answer calls until the other side closes the connection."""
        stream = self._connection.makefile("rb")

        def read(size: int) -> bytes:
            data = stream.read(size)
            if len(data) < size:
                raise EOFError
            return data

        while True:
            try:
                request = receive(read)
                send(self._connection, {"started": True})
                call = partial(getattr(self, request["method"]), **request["arguments"])
                self._answer(self._outcome(call))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return

    def load(
        self,
        params: dict[str, Any],
        limits: dict[str, int],
        *,
        modules: dict[str, str],
        examples: bool,
        suites: bool,
    ) -> dict[str, Any]:
        """Lower this process's limits, then build the environment in the working directory.

        `modules` are the folders of the environments it builds on, by the name of their module. With
        `examples` or `suites`, load these too: a process that is started again has to know what its
        predecessor handed out.
        """
        for name, value in limits.items():
            _lower_limit(getattr(resource, name), value)
        from freesolo.environments import EnvironmentMultiTurn
        from freesolo.environments.loading import build_environment, offer_modules

        offer_modules(modules)
        self._environment = build_environment("environment.py", params)
        if examples:
            self._rows()
        if suites:
            self.suites()
        concurrency = self._environment.max_score_concurrency
        if concurrency > 1:
            self._scorers = ThreadPoolExecutor(concurrency, "answer")
        return {
            "multi_turn": isinstance(self._environment, EnvironmentMultiTurn),
            "score_concurrency": max(1, concurrency),
            "apart": _scored_apart(self._environment),
        }

    def examples(self, start: int, count: int) -> dict[str, Any]:
        """Return up to `count` rows of the dataset from `start` on, and how many there are in all.

        They are fewer where they are large, but at least one unless `start` is the end. Each is the
        text of its view in JSON; the author's code always sees the author's own objects.
        """
        from freesolo.datasets.serialize import json_text

        rows = self._rows()
        page: list[str] = []
        size = 0
        for row, example in enumerate(rows[start : start + count], start):
            text = json_text(vars(example))
            size += len(text)
            if page and size > _PAGE_CHARS:
                break
            if len(text) > MAX_ROW_CHARS:
                raise ValueError(
                    f"row {row} of the dataset has {len(text)} characters as JSON, "
                    f"more than the {MAX_ROW_CHARS} of a row"
                )
            page.append(text)
        return {"rows": page, "total": len(rows)}

    def start_episode(self, subject: dict[str, Any], prompt_text: str) -> list[Any]:
        """Return the messages that an episode begins with."""
        environment, example = self._task(subject)
        return list(environment.start_episode(example, prompt_text))

    def max_episode_turns(self, subject: dict[str, Any]) -> object:
        """Return how often the model may act."""
        environment, example = self._task(subject)
        return environment.max_episode_turns(example)

    def step_episode(
        self, subject: dict[str, Any], messages: list[Any], action: object
    ) -> dict[str, Any]:
        """Let the environment answer an action, which `messages` already end with."""
        environment, example = self._task(subject)
        return _plain_step(environment.step_episode(example, messages, answer_of(action)))

    def sft_completion(self, subject: dict[str, Any]) -> list[Any]:
        """Return the gold answer as messages."""
        environment, example = self._task(subject)
        return list(environment.sft_completion(example))

    def score_responses(
        self, subject: dict[str, Any], answers: list[Any], *, apart: bool
    ) -> dict[str, Any] | None:
        """Score answers to one example: with `apart` one by one, telling of each, or else together."""
        environment, example = self._task(subject)
        texts = [answer_of(answer) for answer in answers]
        return self._score(partial(environment.score_responses, example), texts, apart=apart)

    def score_episodes(
        self, subject: dict[str, Any], episodes: list[dict[str, Any]], *, apart: bool
    ) -> dict[str, Any] | None:
        """Score episodes of one example, as `score_responses` does answers."""
        environment, example = self._task(subject)
        played = [_episode_of(episode) for episode in episodes]
        return self._score(partial(environment.score_episodes, example), played, apart=apart)

    def suites(self) -> list[dict[str, Any]]:
        """Load the evaluation suites, if there are any, and return their cases."""
        from freesolo.environments.grading import held_out_suites

        self._suites = [(suite, suite.cases()) for suite in held_out_suites(self.environment)]
        return [
            {
                "name": suite.name,
                "grades_episodes": suite.grades_episodes,
                "cases": [_plain_case(suite, case) for case in cases],
            }
            for suite, cases in self._suites
        ]

    def score_case(
        self, subject: dict[str, Any], answer: object, episode: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Grade an answer to one case of a suite, or the episode that it came from."""
        suite, case = self._case(subject)
        played = None if episode is None else _episode_of(episode)
        return _timed(lambda: [suite.score(case, answer_of(answer), played)])

    @property
    def environment(self) -> "Environment":
        """The loaded environment."""
        if self._environment is None:
            raise RuntimeError("The first call must be `load`")
        return self._environment

    def _score(
        self, score: Callable[[list[Item]], Iterable[object]], items: list[Item], *, apart: bool
    ) -> dict[str, Any] | None:
        if not apart:
            return _timed(lambda: score(items))

        with _Telling(self._connection) as telling:

            def score_one(index: int, item: Item) -> None:
                telling.note({"item": index})
                outcome = self._outcome(lambda: _timed(lambda: score([item])))
                telling.note({"item": index, **outcome})

            if self._scorers is None:
                for index, item in enumerate(items):
                    score_one(index, item)
            else:
                list(self._scorers.map(score_one, range(len(items)), items))
        return None

    def _task(self, subject: dict[str, Any]) -> "tuple[Environment, TaskExample]":
        """Return the example that the parent means, and the environment that it belongs to."""
        if "suite" in subject:
            suite, case = self._case(subject)
            return suite.environment, case
        return self.environment, self._example(subject["row"], subject["question"])

    def _case(self, subject: dict[str, Any]) -> "tuple[HeldOut, TaskExample]":
        if self._suites is None:
            self.suites()
        for suite, cases in self._suites or ():
            if suite.name == subject["suite"]:
                return suite, cases[subject["index"]]
        raise LookupError(f"There is no suite {subject['suite']!r}")

    def _example(self, row: int, question: object) -> "TaskExample":
        """Return the example at `row`, which the parent knows by its `input`, the `question`."""
        from freesolo.datasets.serialize import json_view

        example = self._rows()[row]
        if json_view(example.input) != question:
            raise LookupError(
                f"Row {row} was another one before this process was started again: "
                "`load_environment` must make the same dataset each time"
            )
        return example

    def _rows(self) -> "list[TaskExample]":
        """Return the examples of the environment's `dataset`, read once: it may be a generator."""
        if self._examples is None:
            self._examples = self._read_dataset()
        return self._examples

    def _read_dataset(self) -> "list[TaskExample]":
        from freesolo.datasets import Dataset, load_dataset

        dataset = getattr(self.environment, "dataset", None)
        if dataset is None:
            raise AttributeError("The environment has no attribute `dataset`")
        return load_dataset(dataset.examples if isinstance(dataset, Dataset) else dataset).examples

    def _answer(self, outcome: dict[str, Any]) -> None:
        """Send what came of a call. What is not JSON, or is too long, goes as an exception."""
        try:
            send(self._connection, outcome)
        except (TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: what it returns must be JSON: {error}"
            send(self._connection, {"raised": problem, "traceback": None})

    def _outcome(self, call: Callable[[], object]) -> dict[str, Any]:
        try:
            return {"value": call()}
        except BaseException as error:  # noqa: BLE001 - the boundary: whatever the author's code raises
            return _raised(error, f"{self._folder}{os.sep}")


def main() -> None:
    """Answer calls until the parent closes the socket given as the first argument."""
    # The contract lies two folders up; nothing else of its parent's is on the path.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    _die_with_parent()
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    Host(connection, Path.cwd()).serve()


def _raised(error: BaseException, folder: str) -> dict[str, Any]:
    report = traceback.TracebackException.from_exception(error)
    _keep_own_frames(report, folder)
    text = "".join(report.format()).replace(folder, "")
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    return {"raised": summary[:SUMMARY_CHARS], "traceback": text[-TRACEBACK_CHARS:]}


def _keep_own_frames(report: traceback.TracebackException | None, folder: str) -> None:
    """Drop the frames outside `folder` from a traceback and from those that led to it."""
    while report is not None:
        report.stack = traceback.StackSummary.from_list(
            [frame for frame in report.stack if frame.filename.startswith(folder)]
        )
        _keep_own_frames(report.__cause__, folder)
        report = report.__context__


def _scored_apart(environment: "Environment") -> list[str]:
    """Return the calls whose items do not meet: an author's own may compare a group's answers."""
    from freesolo.environments import Environment, EnvironmentSingleTurn

    ours: dict[str, list[object]] = {
        "score_responses": [Environment.score_responses],
        "score_episodes": [Environment.score_episodes, EnvironmentSingleTurn.score_episodes],
    }
    apart = [
        name
        for name, functions in ours.items()
        if getattr(getattr(environment, name), "__func__", None) in functions
    ]
    # Episodes may be scored as the answers they end with.
    return apart if "score_responses" in apart else []


def _episode_of(value: dict[str, Any]) -> "EnvironmentEpisode":
    from freesolo.environments import EnvironmentEpisode, EnvironmentTurn

    return EnvironmentEpisode(
        messages=tuple(value["messages"]),
        response_text=answer_of(value["response_text"]),
        turns=tuple(EnvironmentTurn(**turn) for turn in value["turns"]),
        metadata=value["metadata"],
        latency_ms=value["latency_ms"],
        total_tokens=value["total_tokens"],
    )


def _timed(score: Callable[[], Iterable[object]]) -> dict[str, Any]:
    """Return rewards as JSON, and the seconds in which the author's code made them."""
    before = time.perf_counter()
    results = list(score())
    seconds = time.perf_counter() - before
    return {"rewards": [_plain_reward(result) for result in results], "seconds": seconds}


def _plain_case(suite: "HeldOut", case: "TaskExample") -> dict[str, Any]:
    from freesolo.datasets.serialize import json_view

    messages = list(suite.environment.start_episode(case, ""))
    return {"id": case.id, "messages": messages, "expected": json_view(case.output)}


def _plain_step(result: object) -> dict[str, Any]:
    from freesolo.environments import EnvironmentStepResult

    if not isinstance(result, EnvironmentStepResult):
        return {"unusable": f"a {type(result).__name__} instead of an EnvironmentStepResult"}
    text: object = result.final_response_text
    if not isinstance(text, str | None):
        return {
            "unusable": f"the {type(text).__name__} {str(text)[:80]!r} as `final_response_text`"
        }
    metadata, _ = _plain_metadata(result.metadata)
    return {
        "done": bool(result.done),
        "messages": list(result.messages),
        "final_response_text": None if text is None else answer_document(text),
        "metadata": metadata,
    }


def _plain_reward(result: object) -> dict[str, Any]:
    """Return a reward as JSON, or in words what is wrong with it."""
    from freesolo.environments import RewardResult

    if not isinstance(result, RewardResult):
        return {"unusable": f"a {type(result).__name__} instead of a RewardResult"}
    if result.error:
        return {"failed": str(result.error)[:SUMMARY_CHARS]}
    if problem := _score_problem(result.score):
        return {"unusable": problem}
    try:
        success = bool(result.resolved_success())
    except (TypeError, ValueError) as error:
        return {"unusable": f"a score whose success cannot be told: {error}"}
    metadata, note = _plain_metadata(result.metadata)
    return {
        "reward": float(result.score),
        "success": success,
        "metadata": metadata,
        "note": note,
    }


def _score_problem(score: object) -> str | None:
    if not isinstance(score, numbers.Real):
        return f"the {type(score).__name__} {str(score)[:80]!r} as its score"
    try:
        number = float(score)
    except OverflowError:
        return "a score that is too large"
    return None if math.isfinite(number) else f"the score {number}"


def _plain_metadata(metadata: object) -> tuple[dict[str, Any], str | None]:
    """Return metadata as JSON, or nothing of it and why: a reward is none the worse for that."""
    from freesolo.datasets.serialize import json_text

    if not isinstance(metadata, dict):
        return {}, f"`metadata` is a {type(metadata).__name__}, so it is not kept."
    if not metadata:
        return {}, None
    try:
        text = json_text(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        return {}, f"`metadata` is not JSON, so it is not kept: {type(error).__name__}: {error}"
    if len(text) > _METADATA_CHARS:
        return {}, f"`metadata` has {len(text)} characters as JSON, so it is not kept."
    return json.loads(text), None


def _lower_limit(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent; elsewhere a closed socket has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
