"""The sampler over vLLM, against a stand-in that can be deaf, broken or dead."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from freesolo.domain.train_tables import StructuredOutputs
from freesolo.errors import ContextLengthExceeded, EngineUnavailable, InvalidAdapter, Unauthorized
from tests import tiny_adapter
from tests.fake_vllm import BASE, KEY, FakeVllm, TinyTokens, effect_of, logprob
from tests.hubs import serving
from training_backend.sampling.sampler import Finish, Ids, Request, Rules, Sampled
from training_backend.sampling.vllm import Residence, VllmSampler
from training_backend.sampling.vllm_server import Engine, OwnEngine
from training_backend.vllm_client import VllmClient

PROMPT = (5, 6, 7, 8)


@dataclass
class FakePolicy:
    """An adapter that grows with each update; the trainer thinks of it as the stand-in does."""

    updates: int = 0
    astray: float = 0.0
    saved: Path | None = None

    def save(self, folder: Path) -> None:
        self.saved = tiny_adapter.build(folder, scale=0.1 * self.updates)

    def has_effect(self) -> bool:
        return self.updates > 0

    def logprobs(self, prompt: Ids, after: Ids) -> Sequence[float]:
        assert self.saved is not None
        return [logprob(token, effect_of(self.saved)) + self.astray for token in after]


@dataclass
class FakeSource:
    """Starts the stand-in; a test may let it die, which forgets its adapters."""

    vllm: FakeVllm
    url: str
    key: str = KEY
    starts: int = 0
    alive: bool = False

    def start(self) -> Engine:
        self.starts += 1
        self.alive = True
        self.vllm.revive()
        client = VllmClient(self.url, self.key, named="The stand-in")
        return Engine(client, BASE, self.vllm.context, 4)

    def is_alive(self) -> bool:
        return self.alive

    def stop(self) -> None:
        self.die()

    def die(self) -> None:
        self.alive = False
        self.vllm.dead = True


@dataclass
class Scene:
    """A sampler with everything around it."""

    vllm: FakeVllm
    source: FakeSource
    folder: Path
    policy: FakePolicy = field(default_factory=FakePolicy)
    told: list[str] = field(default_factory=list)
    opened: ExitStack = field(default_factory=ExitStack)

    def sampler(self, rules: Rules | None = None, *, context: int = 512) -> VllmSampler:
        sampler = VllmSampler(
            self.source,
            self.policy,
            rules or Rules(1.0, frozenset({2})),
            residence=Residence("run-1", self.folder, PROMPT),
            context=context,
            tell=self.told.append,
        )
        self.opened.callback(sampler.close)
        return sampler


@pytest.fixture
def scene(tiny_folder: Path, tmp_path: Path) -> Iterator[Scene]:
    """A stand-in that is not asked yet."""
    vllm = FakeVllm(TinyTokens(tiny_folder))
    with serving(vllm.app) as url:
        scene = Scene(vllm, FakeSource(vllm, url), tmp_path / "policies")
        with scene.opened:
            yield scene


def requests(count: int = 6) -> list[Request]:
    return [Request(PROMPT, seed, 5) for seed in range(count)]


def test_each_policy_is_sampled_under_its_own_name_and_the_one_before_goes(scene: Scene) -> None:
    sampler = scene.sampler()
    sampler.policy_changed()
    sampler.sample(requests())
    scene.policy.updates = 1
    sampler.policy_changed()
    sampler.sample(requests())
    assert set(scene.vllm.adapters) == {"run-1-v2"}
    assert [path.name for path in scene.folder.iterdir()] == ["run-1-v2"]
    assert scene.vllm.requests[-1]["model"] == "run-1-v2"


def test_answers_come_in_the_order_of_their_requests(scene: Scene) -> None:
    sampler = scene.sampler()
    sampler.policy_changed()
    whole = sampler.sample(requests())
    assert [sampler.sample([request])[0] for request in requests()] == whole
    assert len({answer.ids for answer in whole}) > 1


def test_an_adapter_that_changes_nothing_is_refused(scene: Scene) -> None:
    scene.vllm.deaf = True
    scene.policy.updates = 1
    with pytest.raises(InvalidAdapter, match="answers as if it had not"):
        scene.sampler().policy_changed()


def test_a_fresh_adapter_may_change_nothing(scene: Scene) -> None:
    scene.vllm.deaf = True
    scene.sampler().policy_changed()
    assert scene.vllm.adapters


def test_another_model_than_the_trainers_is_refused(scene: Scene) -> None:
    scene.policy.astray = 2.0
    with pytest.raises(InvalidAdapter, match=r"differ by 2\.00"):
        scene.sampler().policy_changed()


def test_an_answer_that_fails_once_is_asked_for_again(scene: Scene) -> None:
    sampler = scene.sampler()
    sampler.policy_changed()
    expected = sampler.sample(requests())
    scene.vllm.failures = 2
    assert sampler.sample(requests()) == expected
    assert scene.source.starts == 1


def test_an_answer_that_fails_twice_fails_the_step(scene: Scene) -> None:
    sampler = scene.sampler()
    sampler.policy_changed()
    scene.vllm.finish = "abort"
    with pytest.raises(EngineUnavailable, match="abort"):
        sampler.sample(requests())


def test_an_engine_that_dies_is_started_again_with_the_policy(scene: Scene) -> None:
    sampler = scene.sampler()
    scene.policy.updates = 1
    sampler.policy_changed()
    expected = sampler.sample(requests())
    scene.source.die()
    assert sampler.sample(requests()) == expected
    assert scene.source.starts == 2
    assert scene.told == ["vLLM died, and is started again."]


def test_an_engine_that_dies_while_it_gets_a_policy_is_started_again(scene: Scene) -> None:
    sampler = scene.sampler()
    sampler.policy_changed()
    scene.policy.updates = 1
    scene.source.die()
    sampler.policy_changed()
    assert set(scene.vllm.adapters) == {"run-1-v2"}


def test_an_engine_that_dies_twice_fails_the_run(scene: Scene) -> None:
    sampler = scene.sampler()
    sampler.policy_changed()
    scene.source.die()
    sampler.sample(requests())
    scene.source.die()
    with pytest.raises(EngineUnavailable, match="second time"):
        sampler.sample(requests())


def test_an_engine_that_reads_less_than_the_run_needs_is_refused(scene: Scene) -> None:
    with pytest.raises(ContextLengthExceeded, match="reads 512 tokens, and the run needs 513"):
        scene.sampler(context=513).policy_changed()


def test_a_key_that_is_not_accepted_is_named_as_such(scene: Scene) -> None:
    scene.source.key = "wrong"
    with pytest.raises(Unauthorized, match="does not accept the key"):
        scene.sampler().policy_changed()


def test_what_a_grammar_narrowed_is_not_told_as_the_policys(scene: Scene) -> None:
    shape = StructuredOutputs(choice=("yes", "no"))
    sampler = scene.sampler(Rules(1.0, frozenset({2}), structured_outputs=shape))
    sampler.policy_changed()
    (answer,) = sampler.sample(requests(1))
    assert answer.finish is Finish.STOP
    assert all(map(math.isnan, answer.logprobs))
    assert scene.vllm.requests[-1]["structured_outputs"] == {"choice": ["yes", "no"]}


def test_stop_sequences_stay_in_what_was_said(scene: Scene) -> None:
    sampler = scene.sampler(Rules(1.0, frozenset({2}), stop_sequences=("a", "e", "i", "o", "u")))
    sampler.policy_changed()
    answers = sampler.sample([Request(PROMPT, seed, 200) for seed in range(3)])
    assert all(isinstance(answer, Sampled) for answer in answers)
    assert all(scene.vllm.tokens.decode(answer.ids)[-1] in "aeiou" for answer in answers)
    assert scene.vllm.requests[-1]["include_stop_str_in_output"] is True


def test_at_the_end_nothing_is_left(scene: Scene) -> None:
    scene.sampler().policy_changed()
    scene.opened.close()
    assert not scene.folder.exists()
    assert not scene.vllm.adapters


def test_a_server_whose_engine_does_not_answer_is_not_alive(tmp_path: Path) -> None:
    # A process that runs, and an address at which nobody listens.
    with closing(VllmClient("http://127.0.0.1:9", None, named="the engine")) as client:
        child = Popen([sys.executable, "-c", "input()"], stdin=PIPE)
        try:
            engine = OwnEngine(tmp_path, 4, 512, on_gpu=False, log=tmp_path / "vllm.log")
            engine._child, engine._client = child, client
            assert child.poll() is None
            assert not engine.is_alive()
        finally:
            child.communicate()
