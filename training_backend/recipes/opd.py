"""On-policy distillation: practise, and move each token towards what a teacher would have said.

The student samples, and every token that it said costs what it is likelier to the student than to the
teacher: the gradient of the reverse divergence (K. Lu et al., "On-policy distillation", 2025). Rewards
are measured, and teach nothing.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from peft import PeftModel

from freesolo.domain.secrets import TEACHER_API_KEY
from freesolo.domain.teachers import TeacherEndpoint
from freesolo.domain.train_spec import OpdSpec
from freesolo.domain.train_tables import OpdTable
from freesolo.errors import EnvironmentFailed
from freesolo.runtime.episodes import Ending
from freesolo.runtime.examples import Examples
from training_backend.lora import load_base_model
from training_backend.model_reader import TEACHER, ModelReader, as_teacher
from training_backend.packing import Row
from training_backend.policy import Objective
from training_backend.policy_trainer import Practice, train_policy
from training_backend.recipes.model_chat import chat_format
from training_backend.recipes.practising import (
    Practising,
    course_of,
    play,
    practising,
    refuse_unread,
)
from training_backend.recipes.task import Task
from training_backend.rollout_metrics import metrics_of, samples_of
from training_backend.rollouts import Rollout, Stage
from training_backend.teachers import (
    ChatTongue,
    EndpointTeacher,
    Lesson,
    OtherTokens,
    Reader,
    SameTokens,
    Teacher,
    question_of,
    same_tokens,
)
from training_backend.vllm_client import VllmClient

# Steps in a row in which the teacher said nothing, after which it is in vain to go on.
_SILENT_STEPS = 5


def train(task: Task) -> int:
    """Train an adapter under a teacher; return the last step.

    Goes on from where an earlier attempt stopped.
    """
    spec = task.lease.spec
    if not isinstance(spec, OpdSpec):
        raise TypeError(f"{spec.algorithm} is no on-policy distillation")
    with practising(task, spec) as ready, open_teacher(task, spec, ready) as teacher:
        practice = TaughtPractice(
            ready.stage,
            ready.examples,
            spec.train,
            teacher=teacher,
            trainer=_reader(ready, spec),
        )
        return train_policy(
            ready.model,
            course_of(task, spec, ready, Objective(spec.train.temperature)),
            practice.practise,
            device=ready.device,
            progress=task.progress,
        )


@dataclass
class TaughtPractice:
    """Samples the rollouts of a step and asks the teacher about each token.

    `trainer` is the student as the trainer sees it, asked where the sampler cannot tell.
    """

    stage: Stage
    examples: Examples
    train: OpdTable
    teacher: Teacher
    trainer: Reader
    _silent: int = 0

    def practise(self, step: int, numbers: Sequence[int]) -> Practice:
        """Roll out, ask, compare. Raise `EnvironmentFailed` where most episodes broke off."""
        played = play(
            self.stage, self.examples, numbers, step=step, group_size=self.train.group_size
        )
        rollouts = played.rollouts
        refuse_unread(rollouts, step=step, context=self.stage.limits.context)
        refuse_broken(rollouts, step=step)
        lessons = self._lessons(rollouts)
        began, read_before = time.monotonic(), self.teacher.tokens
        gaps = self.teacher.gaps(lessons)
        seconds = time.monotonic() - began
        self._refuse_silence(gaps)
        coef = self.train.kl_penalty_coef
        taught = {
            "teacher/tokens": float(self.teacher.tokens - read_before),
            "time/teacher": seconds,
        }
        advantages = list(by_turn(rollouts, gaps, coef))
        return Practice(
            rows=[
                row_of(lesson, of_row, coef) for lesson, of_row in zip(lessons, gaps, strict=True)
            ],
            metrics={
                **metrics_of(rollouts, advantages),
                **played.measured,
                **taught_metrics(lessons, gaps),
                **taught,
            },
            samples=samples_of(rollouts, advantages, played.rows),
        )

    def _lessons(self, rollouts: Sequence[Rollout]) -> list[Lesson]:
        """Return every row with what its tokens were to the student."""
        rows = [(rollout, row) for rollout in rollouts for row in rollout.rows]
        untold = [row for _, row in rows if any(map(math.isnan, row.logprobs))]
        readings = self.trainer.read([question_of(row) for row in untold])
        told = {
            id(row): reading.logprobs
            for row, reading in zip(untold, readings, strict=True)
            if reading is not None
        }
        return [Lesson(rollout, row, told.get(id(row), row.logprobs)) for rollout, row in rows]

    def _refuse_silence(self, gaps: Sequence[Sequence[float]]) -> None:
        silent = all(math.isnan(gap) for of_row in gaps for gap in of_row)
        self._silent = self._silent + 1 if silent else 0
        if self._silent >= _SILENT_STEPS:
            raise EnvironmentFailed(
                f"In {self._silent} steps in a row the teacher said nothing of any token.",
                hint="Are the prompts longer than what the teacher can read, or do its tokens and the "
                "student's stand for different texts? Use another `train.teacher_model`.",
            )


def row_of(lesson: Lesson, gaps: Sequence[float], coef: float) -> Row:
    """Return a row to train on: each token costs its gap. One of which nothing is known has no loss.

    What was cut off teaches as much as what came to an end.
    """
    return Row(
        prompt=lesson.spoken.prompt,
        after=lesson.spoken.after,
        trained=tuple(not math.isnan(gap) for gap in gaps),
        advantages=tuple(0.0 if math.isnan(gap) else -coef * gap for gap in gaps),
        logprobs=lesson.spoken.logprobs,
    )


def taught_metrics(lessons: Sequence[Lesson], gaps: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return how far the student is from its teacher, and how much of it the teacher judged."""
    known = [[gap for gap in of_row if not math.isnan(gap)] for of_row in gaps]
    said = sum(turn >= 0 for lesson in lessons for turn in lesson.spoken.turns)
    judged = sum(map(len, known))
    found = {
        "coverage": judged / said if said else 0.0,
        "no_signal_frac": fmean(not of_row for of_row in known) if known else 1.0,
    }
    return found | ({"teacher_kl": sum(map(sum, known)) / judged} if judged else {})


def by_turn(
    rollouts: Sequence[Rollout], gaps: Sequence[Sequence[float]], coef: float
) -> Iterator[tuple[float, ...]]:
    """Yield the mean advantage of each turn of each rollout, 0 where nothing is known."""
    left = iter(gaps)
    for rollout in rollouts:
        turns: list[list[float]] = [[] for _ in range(rollout.turns)]
        for row in rollout.rows:
            for turn, gap in zip(row.turns, next(left), strict=True):
                if turn >= 0 and not math.isnan(gap):
                    turns[turn].append(-coef * gap)
        yield tuple(fmean(of_turn) if of_turn else 0.0 for of_turn in turns)


def refuse_broken(rollouts: Sequence[Rollout], *, step: int) -> None:
    """Raise where most episodes of a step broke off because the environment failed.

    A reward that fails is no reason: nothing is learned from it.
    """
    broken = [one for one in rollouts if one.transcript.ending is Ending.ENVIRONMENT_FAILED]
    if 2 * len(broken) <= len(rollouts):
        return
    failure = broken[0].transcript.failure
    raise EnvironmentFailed(
        f"{len(broken)} of {len(rollouts)} episodes of step {step} broke off, the first because: "
        f"{failure.message if failure else 'unknown'}",
        hint="Mend the environment's code; `freesolo validate` tries its episodes.",
        traceback=failure.traceback if failure else None,
    )


@contextmanager
def open_teacher(task: Task, spec: OpdSpec, ready: Practising) -> Iterator[Teacher]:
    """Yield the run's teacher: a model, with an adapter or as it is, or an endpoint."""
    student = ready.stage.chat
    if task.teacher_model is None:
        with _endpoint(task, spec) as endpoint:
            if endpoint.knows(student):
                yield SameTokens(endpoint)
            else:
                task.progress.log("The teacher has other tokens; they are matched by their text.")
                yield OtherTokens(endpoint, endpoint, student)
    elif task.teacher_model != task.model_folder:
        yield _other_model(task.teacher_model, task, spec, ready)
    elif task.teacher_adapter is not None:
        ready.model.load_adapter(task.teacher_adapter, TEACHER, is_trainable=False)
        yield SameTokens(_reader(ready, spec, speaking=lambda: as_teacher(ready.model)))
    else:
        yield SameTokens(_reader(ready, spec, speaking=ready.model.disable_adapter))


def _other_model(folder: Path, task: Task, spec: OpdSpec, ready: Practising) -> Teacher:
    """Load a teacher on another base model than the student's, beside that."""
    task.progress.log("Loading the teacher.")
    chat = chat_format(folder, thinking=spec.thinking)
    model = load_base_model(folder, ready.device)
    if task.teacher_adapter is not None:
        model = PeftModel.from_pretrained(model, task.teacher_adapter).get_base_model()
    reader = ModelReader(model, nullcontext, spec.train.temperature, ready.device.tokens_per_pass)
    student = ready.stage.chat
    if same_tokens(student, chat):
        return SameTokens(reader)
    return OtherTokens(reader, ChatTongue(chat), student)


@contextmanager
def _endpoint(task: Task, spec: OpdSpec) -> Iterator[EndpointTeacher]:
    teacher = spec.train.teacher
    if not isinstance(teacher, TeacherEndpoint):
        raise TypeError(f"{teacher} is no endpoint")
    if spec.train.temperature != 1:
        task.progress.log(
            f"The endpoint judges at temperature 1, and rollouts are sampled at "
            f"{spec.train.temperature:g}: the student comes to be as sure of itself at that."
        )
    client = VllmClient(
        teacher.base_url, task.secrets.get(TEACHER_API_KEY), named=spec.train.teacher_model
    )
    try:
        yield EndpointTeacher(client, teacher.model, thinking=spec.thinking)
    finally:
        client.close()


def _reader(
    ready: Practising,
    spec: OpdSpec,
    *,
    speaking: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> ModelReader:
    """Return the run's own model, with its adapter or as it is within `speaking`."""
    return ModelReader(
        ready.model.get_base_model(),
        speaking,
        spec.train.temperature,
        ready.device.tokens_per_pass,
    )
