"""What recipes that sample share: the stage on which a run practises, and its course."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from peft import PeftModel
from transformers import set_seed

from freesolo import engines
from freesolo.datasets.types import TaskExample
from freesolo.domain.train_spec import (
    GrpoSpec,
    OpdSpec,
    completion_tokens,
    context_tokens,
    planned_steps,
)
from freesolo.errors import InvalidEnvironment
from freesolo.runtime.examples import Examples
from training_backend.chat import ChatFormat
from training_backend.data import row_order
from training_backend.fingerprints import Questions
from training_backend.lora import Device, find_device, load_base_model, with_adapter
from training_backend.policy import Objective
from training_backend.policy_trainer import Course, attends_fully
from training_backend.recipes.model_chat import chat_format
from training_backend.recipes.room import require_room_to_practise
from training_backend.recipes.task import Task
from training_backend.rollouts import Limits, Place, Rollout, Stage, roll_out
from training_backend.sampling.choice import SamplerKind, choose, told_as
from training_backend.sampling.grammar import Grammar
from training_backend.sampling.in_process import InProcessSampler
from training_backend.sampling.sampler import Rules, Sampler
from training_backend.sampling.trained_adapter import TrainedAdapter
from training_backend.sampling.vllm import Residence, VllmSampler
from training_backend.sampling.vllm_server import EngineSource, NamedEngine, OwnEngine

# What an adapter is tried on after a server has loaded it.
_PROBE = "Name three things that you can do well, and say why."
_PROBE_TOKENS = 48


@dataclass(frozen=True)
class Practising:
    """A run that is ready to practise, for so many `steps`, on the first `pool` of the examples.

    `sampler` is the name of who samples.
    """

    model: PeftModel
    device: Device
    stage: Stage
    examples: Examples
    pool: int
    steps: int
    sampler: str


@contextmanager
def practising(task: Task, spec: GrpoSpec | OpdSpec) -> Iterator[Practising]:
    """Load the model with its adapter, and open the stage; what samples is closed at the end.

    Raise, before the model is loaded, `LimitExceeded` if the machine's memory is too small, and
    `InvalidTrainSpec` if a checkpoint is asked for after the last step.
    """
    examples = task.host.examples()
    pool = min(len(examples), spec.train.max_examples or len(examples))
    steps = planned_steps(spec.train, pool)
    chat = chat_format(task.model_folder, thinking=spec.thinking)
    require_room_to_practise(task, spec, chat, examples, pool=pool)
    device = find_device()
    # A fresh adapter begins at random.
    set_seed(spec.seed)
    model = with_adapter(
        load_base_model(task.model_folder, device),
        spec.train.lora_rank,
        warm_start=task.warm_start,
    )
    kind = choose(
        task.sampling,
        on_gpu=device.gpu,
        attends_fully=attends_fully(model.get_base_model()),
        vllm=engines.is_installed(),
    )
    with open_sampler(task, spec, model, chat, kind) as sampler:
        stage = Stage(
            host=task.host,
            sampler=sampler,
            chat=chat,
            limits=Limits(
                turn=completion_tokens(spec), context=context_tokens(spec.train, task.lease.model)
            ),
            seed=spec.seed,
            stop_sequences=spec.train.stop_sequences,
        )
        yield Practising(model, device, stage, examples, pool, steps, told_as(kind, task.sampling))


@dataclass(frozen=True)
class Played:
    """The rollouts of a step, the number of each one's row, and by name what playing them took."""

    rollouts: list[Rollout]
    rows: list[int]
    measured: Mapping[str, float]


def play(
    stage: Stage, examples: Examples, numbers: Sequence[int], *, step: int, group_size: int
) -> Played:
    """Roll out the groups of a step with the policy as it is now."""
    began = time.monotonic()
    stage.sampler.policy_changed()
    handed_over = time.monotonic() - began
    scored_before, before = stage.scoring_seconds, stage.host.spent()
    places = [
        Place(step, group, number) for group in range(len(numbers)) for number in range(group_size)
    ]
    found: dict[int, TaskExample] = {row: examples[row] for row in numbers}
    rows = [numbers[place.group] for place in places]
    rollouts = roll_out(stage, [found[row] for row in rows], places)
    after = stage.host.spent()

    def waited(*methods: str) -> float:
        return sum(after.seconds.get(name, 0.0) - before.seconds.get(name, 0.0) for name in methods)

    return Played(
        rollouts,
        rows,
        {
            "perf/weight_sync_s": handed_over,
            "env/reset_s": waited("start_episode", "max_episode_turns"),
            "env/step_s": waited("step_episode"),
            "time/scoring": stage.scoring_seconds - scored_before,
            "rollout/timeouts": after.timeouts - before.timeouts,
        },
    )


def refuse_unread(rollouts: Sequence[Rollout], *, step: int, context: int) -> None:
    """Raise where no prompt of a step can be answered."""
    if all(rollout.unread for rollout in rollouts):
        raise InvalidEnvironment(
            f"No prompt of step {step} leaves room for an answer in {context} tokens.",
            hint="Raise `train.max_context_tokens`, or shorten the prompts.",
        )


@contextmanager
def open_sampler(
    task: Task, spec: GrpoSpec | OpdSpec, model: PeftModel, chat: ChatFormat, kind: SamplerKind
) -> Iterator[Sampler]:
    """Yield who samples for this run."""
    rules = Rules(
        temperature=spec.train.temperature,
        stop_ids=chat.stop_ids,
        stop_sequences=spec.train.stop_sequences,
        structured_outputs=spec.train.structured_outputs,
        thinking_end=chat.encode("</think>") if spec.thinking else (),
    )
    if kind is SamplerKind.IN_PROCESS:
        task.progress.log("Rollouts are sampled in this process.")
        yield in_process(model, rules, chat, room=find_device().sampling_room)
        return
    sampler = _with_vllm(task, spec, model, rules=rules, chat=chat)
    try:
        yield sampler
    finally:
        sampler.close()


def in_process(model: PeftModel, rules: Rules, chat: ChatFormat, *, room: int) -> InProcessSampler:
    """Return the sampler in this process, with the run's grammar if it has one."""
    grammar = None
    if rules.structured_outputs is not None:
        grammar = Grammar(
            rules.structured_outputs,
            chat.tokenizer,
            vocabulary=model.get_output_embeddings().weight.shape[0],
            stop_ids=rules.stop_ids,
            thinking_end=rules.thinking_end,
        )
    return InProcessSampler(
        model,
        rules,
        decode=lambda ids: chat.decode(ids, special=False),
        room=room,
        grammar=grammar,
    )


def _with_vllm(
    task: Task, spec: GrpoSpec | OpdSpec, model: PeftModel, *, rules: Rules, chat: ChatFormat
) -> VllmSampler:
    context = context_tokens(spec.train, task.lease.model)
    source: EngineSource
    if task.sampling.url is not None:
        source = NamedEngine(task.sampling.url, task.sampling.api_key)
        task.progress.log(f"Rollouts are sampled by the vLLM server at {task.sampling.url}.")
    else:
        source = OwnEngine(
            model=task.model_folder,
            rank=model.peft_config[model.active_adapter].r,
            context=context,
            on_gpu=find_device().gpu,
            log=task.work_dir / "vllm.log",
            reasoning=bool(rules.thinking_end) and rules.structured_outputs is not None,
        )
        task.progress.log("Rollouts are sampled by a vLLM server of this job's own.")
    return VllmSampler(
        source,
        TrainedAdapter(model, rules.temperature),
        rules,
        residence=Residence(
            # No other attempt at any run calls its adapters so, should they share a server.
            name=f"{task.lease.run_id}-{task.lease.attempt}",
            folder=task.work_dir / "policies",
            probe=chat.prompt([{"role": "user", "content": _PROBE}])[-_PROBE_TOKENS:],
        ),
        context=context,
        tell=task.progress.log,
    )


def course_of(
    task: Task, spec: GrpoSpec | OpdSpec, ready: Practising, objective: Objective
) -> Course:
    """Return how long a run practises, and on which rows in which order."""
    taken = ready.steps * spec.train.batch_size
    return Course(
        order=list(row_order(ready.pool, take=taken, seed=spec.seed)),
        steps=ready.steps,
        train=spec.train,
        objective=objective,
        seed=spec.seed,
        output_dir=task.work_dir,
        sampler=ready.sampler,
        resume_from=task.resume_from,
        questions=Questions.of(ready.stage.chat),
    )
