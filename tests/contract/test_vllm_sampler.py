"""What training relies on in vLLM: one suite, against the stand-in and against vLLM itself."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from peft import PeftModel

from freesolo.domain.train_tables import StructuredOutputs
from freesolo.errors import ContextLengthExceeded
from tests import tiny_model
from tests.component.training.conftest import make_policy
from tests.fake_vllm import BASE, KEY, FakeVllm, TinyTokens, effect_of, logprob
from tests.hubs import serving
from training_backend.chat import ChatFormat, Ids
from training_backend.recipes.model_chat import chat_format
from training_backend.rollouts import Spoken
from training_backend.sampling.sampler import Finish, Request, Rules
from training_backend.sampling.trained_adapter import TrainedAdapter
from training_backend.sampling.vllm import Residence, VllmSampler
from training_backend.sampling.vllm_server import Engine, OwnEngine
from training_backend.teachers import EndpointTeacher, question_of
from training_backend.vllm_client import VllmClient

_CONTEXT = 512
_TEMPERATURE = 0.7
_STOP = 2
_RULES = Rules(_TEMPERATURE, frozenset({_STOP}))


class FakesTrainer(TrainedAdapter):
    """A trainer to whom tokens are as likely as they are to the stand-in."""

    def save(self, folder: Path) -> None:
        super().save(folder)
        object.__setattr__(self, "effect", effect_of(folder))

    def logprobs(self, prompt: Ids, after: Ids) -> Sequence[float]:
        return [logprob(token, vars(self)["effect"]) for token in after]


@dataclass
class Running:
    """An engine under test, as a source that starts nothing; and what is trained on its model."""

    engine: Engine
    model: PeftModel
    chat: ChatFormat
    trainer: type[TrainedAdapter]
    folder: Path
    samplers: int = 0

    def start(self) -> Engine:
        return self.engine

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        pass

    def prompt(self, text: str = "Hello there, how do you do?") -> Ids:
        return self.chat.prompt([{"role": "user", "content": text}])

    def sampler(self, rules: Rules = _RULES) -> VllmSampler:
        """Return a sampler of the policy, which the engine has and was tried with."""
        self.samplers += 1
        sampler = VllmSampler(
            self,
            self.trainer(self.model, _TEMPERATURE),
            rules,
            residence=Residence(f"run-{self.samplers}", self.folder, self.prompt()),
            context=_CONTEXT,
            tell=print,
        )
        sampler.policy_changed()
        return sampler

    def requests(self, *, max_tokens: int = 12) -> list[Request]:
        return [Request(self.prompt(f"Number {seed}?"), seed, max_tokens) for seed in range(6)]


@pytest.fixture(scope="module", params=["fake", "vllm"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("sampling")
    tiny = tiny_model.build(folder / "tiny")
    model, chat = make_policy(tiny), chat_format(tiny, thinking=False)
    if request.param == "fake":
        fake = FakeVllm(TinyTokens(tiny), context=_CONTEXT)
        with (
            serving(fake.app) as url,
            closing(VllmClient(url, KEY, named="The stand-in")) as client,
        ):
            engine = Engine(client, BASE, _CONTEXT, 4)
            yield Running(engine, model, chat, FakesTrainer, folder / "policies")
        return
    source = OwnEngine(tiny, 4, _CONTEXT, on_gpu=False, log=folder / "vllm.log")
    try:
        engine = source.start()
        with closing(engine.client):
            yield Running(engine, model, chat, TrainedAdapter, folder / "policies")
    finally:
        source.stop()


def test_the_policy_is_sampled_as_the_trainer_sees_it(running: Running) -> None:
    sampler = running.sampler()
    for request, answer in zip(running.requests(), sampler.sample(running.requests()), strict=True):
        trainer = running.trainer(running.model, _TEMPERATURE)
        trainer.save(running.folder / "compared")
        assert answer.logprobs == pytest.approx(trainer.logprobs(request.ids, answer.ids), abs=0.1)


def test_the_same_seeds_give_the_same_answers(running: Running) -> None:
    sampler = running.sampler()
    answers = sampler.sample(running.requests())
    assert [answer.ids for answer in sampler.sample(running.requests())] == [
        answer.ids for answer in answers
    ]
    assert len({answer.ids for answer in answers}) == len(answers)


def test_an_answer_ends_where_its_tokens_do(running: Running) -> None:
    for answer in running.sampler().sample(running.requests(max_tokens=5)):
        assert len(answer.ids) == len(answer.logprobs) <= 5
        assert (answer.finish is Finish.LENGTH) == (answer.ids[-1] != _STOP)


def test_an_answer_ends_with_a_stop_sequence(running: Running) -> None:
    stops = ("a", "e", "i", "o", "u", "b", "c", "d", "f", "g", "h")
    sampler = running.sampler(replace(_RULES, stop_sequences=stops))
    answers = sampler.sample(running.requests(max_tokens=300))
    texts = [running.chat.decode(answer.ids, special=False) for answer in answers]
    assert {answer.finish for answer in answers} == {Finish.STOP}
    assert any(text.endswith(stops) for text in texts)
    assert not any(stop in text[:-1] for text in texts for stop in stops)


def test_a_grammar_holds_and_its_odds_are_not_the_policys(running: Running) -> None:
    shape = StructuredOutputs(choice=("yes", "nöö"))
    sampler = running.sampler(replace(_RULES, structured_outputs=shape))
    for answer in sampler.sample(running.requests(max_tokens=30)):
        assert running.chat.decode(answer.ids, special=False) in ("yes", "nöö")
        assert answer.finish is Finish.STOP
        assert all(map(math.isnan, answer.logprobs))


def test_a_new_policy_comes_before_the_old_one_goes(running: Running) -> None:
    sampler = running.sampler()
    name = f"run-{running.samplers}"
    sampler.policy_changed()
    loaded = {model["id"] for model in running.engine.client.models()}
    assert f"{name}-v2" in loaded
    assert f"{name}-v1" not in loaded


def test_an_adapter_changes_what_is_read(running: Running) -> None:
    running.sampler()
    adapter = f"run-{running.samplers}-v1"
    options = {"max_tokens": 1, "prompt_logprobs": 0}
    by_both = [
        running.engine.client.complete(model, running.prompt(), seconds=60, options=options).read
        for model in (running.engine.base, adapter)
    ]
    assert by_both[0] != by_both[1]
    assert {len(read) for read in by_both} == {len(running.prompt())}


def test_a_teacher_reads_what_a_student_said(running: Running) -> None:
    teacher = EndpointTeacher(running.engine.client, running.engine.base, thinking=False)
    said = running.chat.encode("Grüße, 東京!")
    question = question_of(Spoken(running.prompt(), said, (0,) * len(said), (0.0,) * len(said)))
    (reading,) = teacher.read([question])
    assert teacher.knows(running.chat)
    assert reading is not None
    assert len(reading.logprobs) == len(said)
    assert all(value < 0 for value in reading.logprobs)
    told = teacher.pieces(said, reading.texts, "Grüße, 東京!")
    assert "".join(told) == "Grüße, 東京!"


def test_a_teacher_writes_conversations_in_its_own_way(running: Running) -> None:
    teacher = EndpointTeacher(running.engine.client, running.engine.base, thinking=False)
    (asked,) = teacher.prompts([[{"role": "user", "content": "?"}]])
    assert asked[-1:] != teacher.end
    assert teacher.end == (_STOP,)


def test_what_does_not_fit_is_told_as_such(running: Running) -> None:
    with pytest.raises(ContextLengthExceeded):
        running.engine.client.complete(
            running.engine.base, (5,) * 600, seconds=60, options={"max_tokens": 1}
        )
