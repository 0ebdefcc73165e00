"""Environment hosts: the one way to run an environment's code, from outside its process.

`open_host` prepares an interpreter and a sandbox, starts the process and loads the environment.
A call that hangs, crashes its process or returns nonsense fails as `EnvironmentFailed`; the
process is started again for the next call, so the caller goes on.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self, TypedDict, Unpack

from freesolo.datasets.types import Message, TaskExample
from freesolo.domain.deadlines import DEFAULT_CALL_SECONDS
from freesolo.domain.manifest import MANIFEST_NAME, Manifest, parse_manifest
from freesolo.domain.secrets import check_secret_name
from freesolo.environments.types import EnvironmentEpisode
from freesolo.errors import EnvironmentFailed, InvalidEnvironment, InvalidManifest
from freesolo.runtime.child import Child, Program
from freesolo.runtime.examples import Examples, Page, read_page
from freesolo.runtime.host import answer_document
from freesolo.runtime.pool import Launch, Pool
from freesolo.runtime.sandbox import (
    Limits,
    Sandbox,
    SandboxMode,
    choose_sandbox,
    machine_limits,
)
from freesolo.runtime.scoring import Scoring, failed_score, score_apart, score_together
from freesolo.runtime.values import (
    Case,
    Score,
    Step,
    Suite,
    episode_document,
    read_facts,
    read_messages,
    read_scores,
    read_step,
    read_suites,
    read_turns,
    subject_of,
)
from freesolo.runtime.venvs import (
    Installed,
    ensure_contract,
    ensure_venv,
    installed_in,
    interpreter_prefix,
    venv_folder,
)

__all__ = [
    "Case",
    "EnvironmentHost",
    "Foundation",
    "HostOptions",
    "SandboxMode",
    "Score",
    "Step",
    "Suite",
    "open_host",
    "open_pool",
    "read_manifest",
]

ENTRY_POINT = "environment.py"


@dataclass(frozen=True)
class HostOptions:
    """How hosts run. `call_timeout` bounds one call of the author's code, `load_timeout` the
    building of the environment and the reading of its data; both are in seconds. `limits` bound
    what each process may use, of which there are up to `processes`.
    """

    cache_dir: Path
    sandbox: SandboxMode = SandboxMode.AUTO
    call_timeout: float = DEFAULT_CALL_SECONDS
    load_timeout: float = 120.0
    limits: Limits = field(default_factory=machine_limits)
    processes: int = 1


@dataclass(frozen=True)
class Spent:
    """What calls of a host took so far: the seconds that callers waited, by method, those that score
    left out, and how many of all calls were given up because no answer came in time.
    """

    seconds: Mapping[str, float]
    timeouts: int


@dataclass(frozen=True)
class Foundation:
    """What an environment stands on besides its own folder.

    `modules` are the folders of the environments that it builds on, directly or not, by the name of
    their module. `pylock` names the exact Python packages for all of them; without it they are
    chosen by the manifests.
    """

    modules: Mapping[str, Path] = field(default_factory=dict)
    pylock: Path | None = None


def open_host(
    folder: Path,
    options: HostOptions,
    *,
    params: Mapping[str, object] | None = None,
    requirements: Iterable[str] = (),
    secrets: Mapping[str, str] | None = None,
    foundation: Foundation | None = None,
) -> "EnvironmentHost":
    """Load the environment in `folder` in a process of its own, on its `foundation`.

    `requirements` are installed on top of the manifest's. The process gets all `secrets`, so hand in
    those that are declared, by the manifest or by who runs it; it never gets a variable of the
    platform. Raise `EnvironmentFailed` with the author's traceback if it does not load.
    """
    folder = folder.resolve()
    if not (folder / ENTRY_POINT).is_file():
        raise InvalidEnvironment(
            f"{folder} has no {ENTRY_POINT}.", hint="It must define `load_environment`."
        )
    launch = _prepare(folder, options, foundation or Foundation(), requirements, secrets or {})
    return EnvironmentHost(launch, options, params or {})


class Handed(TypedDict, total=False):
    """What `open_host` hands to an environment."""

    params: Mapping[str, object]
    requirements: Iterable[str]
    secrets: Mapping[str, str]
    foundation: Foundation


def open_pool(
    folder: Path, options: HostOptions, *, size: int, **handed: Unpack[Handed]
) -> "EnvironmentHost":
    """Load the environment as `open_host` does, to be run in up to `size` processes at once.

    It is for rewards that need a processor each: calls of several threads run side by side, and the
    answers of one call are spread over the processes where the author's class scores them one by
    one. `max_score_concurrency` holds in each process.
    """
    return open_host(folder, replace(options, processes=size), **handed)


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of an environment's folder, None if it has none."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"{MANIFEST_NAME} is not UTF-8: {error}.") from None
    return parse_manifest(text)


@dataclass(frozen=True)
class Needs:
    """What some environments together need: Python packages, and a range of Pythons."""

    requirements: tuple[str, ...]
    python: str


def venv_of(folder: Path, foundation: Foundation, cache_dir: Path) -> Path:
    """Return where the virtual environment of the environment in `folder` is, made or not."""
    needs = needs_of(folder, *foundation.modules.values())
    requirements = () if foundation.pylock else needs.requirements
    return venv_folder(
        cache_dir, requirements, requires_python=needs.python, pylock=foundation.pylock
    )


def needs_of(*folders: Path) -> Needs:
    """Return what the manifests in these folders ask for."""
    manifests = [read_manifest(folder) or Manifest(name="unnamed") for folder in folders]
    requirements = {text for manifest in manifests for text in manifest.dependencies}
    ranges = {manifest.requires_python for manifest in manifests if manifest.requires_python}
    return Needs(tuple(sorted(requirements)), ",".join(sorted(ranges)))


class EnvironmentHost:
    """A loaded environment. A context manager.

    Each call has one of the host's processes to itself; calls from more threads than there are
    processes take turns. Any of them may answer a call: a reward that remembers earlier calls
    remembers those that its process was asked.
    """

    def __init__(
        self, prepared: "_Prepared", options: HostOptions, params: Mapping[str, object]
    ) -> None:
        self._prepared = prepared
        self._options = options
        self._params = dict(params)
        self._examples: Examples | None = None
        self._has_suites = False
        self._seconds: dict[str, float] = {}
        self._adding = Lock()
        launch = Launch(
            start=lambda: Child(prepared.program), load=self._first, seconds=options.load_timeout
        )
        self._pool = Pool(launch, size=options.processes)
        try:
            with self._pool.member() as member:
                member.start()
                self._facts = read_facts(member.loaded)
        except BaseException:
            self._pool.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the host's processes, for good. Calls that are under way in other threads fail."""
        self._pool.close()

    @property
    def multi_turn(self) -> bool:
        """Whether the environment answers back."""
        return self._facts.multi_turn

    @property
    def scores_apart(self) -> bool:
        """Whether the score of an episode is its own, whatever else was tried at its example."""
        return "score_episodes" in self._facts.apart

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the sandbox that are on."""
        return self._prepared.sandbox.layers

    @property
    def python(self) -> Path:
        """The interpreter in the environment's own virtual environment."""
        return self._prepared.python

    def installed(self) -> Installed:
        """Read which Python and which packages the environment's code runs with."""
        return installed_in(self.python)

    def spent(self) -> Spent:
        """Return what calls took until now."""
        with self._adding:
            return Spent(dict(self._seconds), self._pool.hung)

    def examples(self) -> Examples:
        """Return the environment's dataset. Raise `EnvironmentFailed` if it has none."""
        if self._examples is None:
            self._examples = Examples(self._page)
        return self._examples

    def start_episode(self, example: TaskExample | Case, prompt_text: str = "") -> list[Message]:
        """Return the messages that an episode begins with."""
        value = self._call_on(example, "start_episode", prompt_text=prompt_text)
        return read_messages(value, "start_episode")

    def max_episode_turns(self, example: TaskExample | Case) -> int:
        """Return how often the model may act, at least once."""
        return read_turns(self._call_on(example, "max_episode_turns"))

    def step_episode(
        self, example: TaskExample | Case, messages: Sequence[Message], action: str
    ) -> Step:
        """Let the environment answer `action`, which `messages` already end with."""
        value = self._call_on(
            example, "step_episode", messages=list(messages), action=answer_document(action)
        )
        return read_step(value)

    def sft_completion(self, example: TaskExample) -> list[Message]:
        """Return the gold answer as messages."""
        return read_messages(self._call_on(example, "sft_completion"), "sft_completion")

    def score_responses(self, example: TaskExample, answers: Sequence[str]) -> list[Score]:
        """Score answers to one example, in their order; those that cannot be scored say why.

        Unless the author's class scores a whole group at once, one bad answer takes no other with
        it, and the answers are spread over the host's processes.
        """
        items = [answer_document(answer) for answer in answers]
        return self._score(example, "score_responses", {"answers": items}, [1] * len(items))

    def score_episodes(
        self, example: TaskExample, episodes: Sequence[EnvironmentEpisode]
    ) -> list[Score]:
        """Score episodes of one example, as `score_responses` does answers."""
        items = [episode_document(episode) for episode in episodes]
        turns = [_actions(episode) for episode in episodes]
        return self._score(example, "score_episodes", {"episodes": items}, turns)

    def suites(self) -> list[Suite]:
        """Return the evaluation suites, none if the folder has no `evaluations.py`."""
        suites = read_suites(self._call("suites", seconds=self._options.load_timeout))
        self._has_suites = True
        return suites

    def score_case(
        self, suite: str, index: int, answer: str, episode: EnvironmentEpisode | None = None
    ) -> Score:
        """Grade an answer to the case at `index` of one of `suites()`.

        Suites that grade whole episodes get the `episode` that the answer ended.
        """
        try:
            value = self._call(
                "score_case",
                subject={"suite": suite, "index": index},
                answer=answer_document(answer),
                episode=episode and episode_document(episode),
            )
            (score,) = read_scores(value, "score_case", [_actions(episode) if episode else 1])
        except EnvironmentFailed as error:
            return failed_score(error)
        return score

    def _page(self, start: int, count: int) -> Page:
        seconds = self._options.load_timeout
        return read_page(self._call("examples", seconds=seconds, start=start, count=count), start)

    def _score(
        self,
        example: TaskExample,
        method: str,
        named: Mapping[str, Sequence[object]],
        turns: Sequence[int],
    ) -> list[Score]:
        if not turns:
            return []
        ((name, items),) = named.items()
        scoring = Scoring(
            method, subject_of(example), name, items, turns, self._options.call_timeout
        )
        if method in self._facts.apart:
            return score_apart(self._pool, scoring)
        return score_together(self._pool, scoring, concurrency=self._facts.score_concurrency)

    def _call_on(
        self,
        example: TaskExample | Case,
        method: str,
        *,
        seconds: float | None = None,
        **arguments: object,
    ) -> object:
        return self._call(method, seconds=seconds, subject=subject_of(example), **arguments)

    def _call(self, method: str, *, seconds: float | None = None, **arguments: object) -> object:
        began = time.monotonic()
        try:
            with self._pool.member() as member:
                return member.ask(method, arguments, seconds=seconds or self._options.call_timeout)
        finally:
            took = time.monotonic() - began
            with self._adding:
                self._seconds[method] = self._seconds.get(method, 0.0) + took

    def _first(self) -> dict[str, object]:
        """Return the arguments of a process's first call."""
        return {
            "params": self._params,
            "limits": self._prepared.program.limits.of_one_process,
            "modules": {name: str(path) for name, path in self._prepared.modules.items()},
            "examples": self._examples is not None,
            "suites": self._has_suites,
        }


def _actions(episode: EnvironmentEpisode) -> int:
    return sum(turn.role == "assistant" for turn in episode.turns)


@dataclass(frozen=True)
class _Prepared:
    """Everything needed to start the process, once and again."""

    python: Path
    program: Program
    modules: Mapping[str, Path]
    sandbox: Sandbox


def _prepare(
    folder: Path,
    options: HostOptions,
    foundation: Foundation,
    requirements: Iterable[str],
    secrets: Mapping[str, str],
) -> _Prepared:
    cache_dir = options.cache_dir.resolve()
    declared = read_manifest(folder) or Manifest(name="unnamed")
    modules = {name: path.resolve() for name, path in foundation.modules.items()}
    sandbox = choose_sandbox(options.sandbox, network=declared.network)
    needs = needs_of(folder, *modules.values())
    python = ensure_venv(
        cache_dir,
        [*(() if foundation.pylock else needs.requirements), *requirements],
        requires_python=needs.python,
        pylock=foundation.pylock,
    )
    contract = ensure_contract(cache_dir)
    script = contract / "freesolo" / "runtime" / "host.py"
    command = sandbox.command(
        # Isolated, so that neither the current folder nor a user's site-packages is on the path.
        [str(python), "-I", "-B", "-u", "-X", "utf8", str(script)],
        readable=[
            *(interpreter_prefix(python), python.parent.parent, contract),
            *(folder, *modules.values()),
        ],
        folder=folder,
        disk=options.limits.disk,
    )
    handed = {check_secret_name(name): value for name, value in secrets.items()}
    private_tmp = sandbox.bubblewrap is not None
    program = Program(command, folder, options.limits, private_tmp=private_tmp, secrets=handed)
    return _Prepared(python, program, modules, sandbox)
