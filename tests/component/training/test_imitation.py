"""What SFT learns from, and how: against TRL's own `SFTTrainer`, and against a perfect model's rollout."""

import random
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from freesolo.domain.train_tables import SftTable
from freesolo.domain.watchdog import Phase
from freesolo.errors import InvalidTrainSpec, OutOfMemory
from freesolo.runtime.client import HostOptions, SandboxMode, open_host
from tests.component.training.conftest import make_policy
from tests.environment_folders import write_environment
from training_backend.chat import ChatFormat
from training_backend.data import Conversation, GoldRow, build_rows, read_conversations, rows_of
from training_backend.gold_trainer import GoldTrainer, Lessons
from training_backend.imitation import Imitated, imitate
from training_backend.lora import Device, lean
from training_backend.packing import batches_by_length
from training_backend.passes import Passes
from training_backend.recipes.sft import Plan, fit
from training_backend.recipes.task import Sample
from training_backend.rollouts import Limits, Place, Stage, roll_out
from training_backend.sampling.sampler import Finish, Request, Sampled
from training_backend.token_scores import OutputLayer

with warnings.catch_warnings():
    # What a peer and its friends say of themselves is no fault of ours.
    warnings.simplefilter("ignore")
    from trl import SFTConfig, SFTTrainer

pytestmark = pytest.mark.filterwarnings("ignore")

HIGHER = textwrap.dedent(
    '''
    """Find a number."""

    from freesolo.environments import EnvironmentMultiTurn, EnvironmentStepResult, RewardResult


    class Higher(EnvironmentMultiTurn):
        dataset = [
            {
                "input": "1 to 3?",
                "output": [
                    {"role": "assistant", "content": "2"},
                    {"role": "user", "content": "higher"},
                    {"role": "assistant", "content": "3"},
                ],
            },
            {"input": "1 to 1?", "output": "1"},
        ]

        def start_episode(self, example, prompt_text):
            return [{"role": "user", "content": example.input}]

        def max_episode_turns(self, example):
            return 3

        def step_episode(self, example, messages, assistant_response):
            if assistant_response != "2":
                return EnvironmentStepResult(done=True)
            return EnvironmentStepResult(
                done=False, messages=({"role": "user", "content": "higher"},)
            )

        def score_episode(self, example, episode):
            return RewardResult(1.0)


    def load_environment(**params):
        return Higher()
    '''
)


class PerfectSampler:
    """Says the gold answers, whatever it is asked: at each turn those of all that are still asked."""

    def __init__(self, chat: ChatFormat, turns: Sequence[Sequence[str]]) -> None:
        self._chat = chat
        self._turns = iter(turns)

    def sample(self, requests: Sequence[Request]) -> list[Sampled]:
        answers = [self._chat.encode(f"{text}<|im_end|>") for text in next(self._turns)]
        assert len(answers) == len(requests)
        return [Sampled(ids, (0.0,) * len(ids), Finish.STOP) for ids in answers]

    def policy_changed(self) -> None:
        return

    def forget(self) -> None:
        return


class Told:
    """Keeps what a trainer tells."""

    def __init__(self) -> None:
        self.steps: list[Mapping[str, float]] = []
        self.logs: list[str] = []

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        return

    def phase(self, phase: Phase) -> None:
        return

    def log(self, message: str) -> None:
        self.logs.append(message)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(values)

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        return

    def checkpoint(self, step: int, folder: Path) -> None:
        return


def rows() -> list[GoldRow]:
    """Rows of many lengths, some with a turn of others' in them."""
    draw = random.Random(7)  # noqa: S311 - the same rows each time
    made = []
    for number in range(12):
        prompt = tuple(draw.randrange(3, 250) for _ in range(draw.randrange(2, 30)))
        after = tuple(draw.randrange(3, 250) for _ in range(draw.randrange(4, 40)))
        heard = range(1, 3) if number % 3 == 0 else ()
        made.append(GoldRow(prompt, after, tuple(at not in heard for at in range(len(after)))))
    return made


def ours(model: PeftModel, *, max_tokens: int) -> tuple[float, list[Imitated]]:
    """Return our loss of the rows; the gradients are in the model."""
    tokens = sum(row.trained_tokens for row in rows())
    output = OutputLayer.of(model, torch.float32)
    parts = []
    with lean(model):
        for batch in batches_by_length(
            [len(row.ids) for row in rows()], max_tokens=max_tokens, pass_cost=8
        ):
            hidden, gradient, part = imitate(
                model, output, [rows()[place] for place in batch], tokens=tokens
            )
            hidden.backward(gradient)
            parts.append(part)
    return sum(part.loss for part in parts) / tokens, parts


def theirs(folder: Path, scratch: Path) -> tuple[float, PeftModel]:
    """Return TRL's loss of the rows as one batch, and its model with the gradients."""
    columns = {
        "input_ids": [list(row.ids) for row in rows()],
        "labels": [list(row.labels) for row in rows()],
    }
    trainer = SFTTrainer(
        model=make_policy(folder),
        args=SFTConfig(
            output_dir=str(scratch),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            per_device_train_batch_size=len(rows()),
            train_sampling_strategy="sequential",
            report_to=[],
        ),
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
        train_dataset=Dataset.from_dict(columns),
    )
    inputs = next(iter(trainer.get_train_dataloader()))
    tokens = torch.tensor(sum(row.trained_tokens for row in rows()))
    loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=tokens)
    loss.backward()
    return float(loss), trainer.model


def gradients(model: PeftModel) -> dict[str, Tensor]:
    return {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }


@pytest.mark.parametrize("max_tokens", [100_000, 100, 1], ids=["wide", "narrow", "one by one"])
def test_loss_and_gradients_equal_those_of_trl(
    tiny_folder: Path, tmp_path: Path, max_tokens: int
) -> None:
    expected, peer = theirs(tiny_folder, tmp_path)
    model = make_policy(tiny_folder)

    found, parts = ours(model, max_tokens=max_tokens)

    assert found == pytest.approx(expected, abs=1e-5)
    wanted = gradients(peer)
    assert max(float(grad.abs().max()) for grad in wanted.values()) > 1e-3
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, wanted[name], atol=1e-5, rtol=1e-5)
    assert sum(part.read for part in parts) == sum(len(row.ids) for row in rows())


def test_what_is_measured_is_what_the_logits_say(policy: PeftModel) -> None:
    row = rows()[0]
    logits = policy(input_ids=torch.tensor([row.ids])).logits[0, len(row.prompt) - 1 : -1]
    trained, after = torch.tensor(row.trained), torch.tensor(row.after)
    log_probs = logits[trained].log_softmax(-1)

    _, _, measured = imitate(policy, OutputLayer.of(policy, torch.float32), [row], tokens=1)

    assert measured.tokens == row.trained_tokens
    assert measured.right == int((log_probs.argmax(-1) == after[trained]).sum())
    entropy = float(-(log_probs.exp() * log_probs).sum())
    assert measured.entropy == pytest.approx(entropy, rel=1e-4)


def test_rows_are_the_tokens_of_a_perfect_models_rollouts(chat: ChatFormat, tmp_path: Path) -> None:
    folder = write_environment(tmp_path / "environment", HIGHER)
    options = HostOptions(tmp_path / "cache", sandbox=SandboxMode.OFF)
    with open_host(folder, options) as host:
        gold = build_rows(read_conversations(host, 0), chat, max_tokens=500).rows
        stage = Stage(
            host=host,
            sampler=PerfectSampler(chat, [["2", "1"], ["3"]]),
            chat=chat,
            limits=Limits(turn=10, context=500),
            seed=0,
        )
        places = [Place(step=1, group=group, number=0) for group in range(2)]
        rollouts = roll_out(stage, list(host.examples()), places)

    played = [
        GoldRow(spoken.prompt, spoken.after, tuple(turn >= 0 for turn in spoken.turns))
        for rollout in rollouts
        for spoken in rollout.rows
    ]
    assert played == list(gold)


def test_only_the_first_examples_are_read_if_there_is_a_most(tmp_path: Path) -> None:
    folder = write_environment(tmp_path / "environment", HIGHER)
    options = HostOptions(tmp_path / "cache", sandbox=SandboxMode.OFF)
    with open_host(folder, options) as host:
        (only,) = read_conversations(host, 1)

    assert only.prompt == [{"role": "user", "content": "1 to 3?"}]


def test_a_step_learns_from_exactly_the_rows_of_its_order(
    tiny_folder: Path, chat: ChatFormat, tmp_path: Path
) -> None:
    gold = [
        row
        for number in range(6)
        for row in rows_of(
            Conversation(
                [{"role": "user", "content": "?" * 40 * number}],
                [{"role": "assistant", "content": "ab"[number % 2] * (number + 1)}],
            ),
            chat,
        )
    ]
    lessons = Lessons(
        rows=gold,
        order=[5, 0, 3, 1, 4, 2],
        steps=2,
        train=SftTable(batch_size=3, learning_rate=1e-2, save_every=0),
        seed=1,
        output_dir=tmp_path,
    )
    told = Told()
    trainer = GoldTrainer(
        make_policy(tiny_folder),
        lessons,
        device=Device(gpu=False, tokens_per_pass=300, sampling_room=1 << 20),
        progress=told,
    )

    trainer.train()

    first, second = told.steps
    assert first["num_tokens"] == sum(len(gold[number].ids) for number in (5, 0, 3))
    assert second["num_tokens"] == sum(len(row.ids) for row in gold)
    assert first["supervised_tokens_per_row"] == (7 + 2 + 5) / 3
    assert second["epoch"] == 1.0
    assert 0 <= first["padding_share"] < 0.3
    for name in ("loss", "mean_token_accuracy", "entropy", "tokens_per_s", "learning_rate"):
        assert name in first
    assert {"grad_norm", "time/step"} <= set(first)


def test_a_plan_always_gives_the_same_adapter_and_a_resumed_one_too(
    tiny_folder: Path, tmp_path: Path
) -> None:
    def adapter(name: str, resume_from: Path | None = None) -> bytes:
        plan = Plan(
            rows=tuple(rows()),
            model_folder=tiny_folder,
            output_dir=tmp_path / name,
            train=SftTable(batch_size=5, max_steps=4, lora_rank=4, save_at_steps=(2,)),
            seed=3,
            resume_from=resume_from,
        )
        assert fit(plan, Told()) == 4
        return (tmp_path / name / "checkpoint-4" / "adapter_model.safetensors").read_bytes()

    whole = adapter("whole")

    assert adapter("again") == whole
    assert adapter("resumed", tmp_path / "whole" / "checkpoint-2") == whole


def test_a_plan_with_a_save_after_its_last_step_is_refused_before_the_model_is_loaded(
    tmp_path: Path,
) -> None:
    train = SftTable(batch_size=5, lora_rank=4, save_at_steps=(500,))
    plan = Plan(tuple(rows()), tmp_path / "no model", tmp_path, train, seed=3)

    with pytest.raises(InvalidTrainSpec, match="Step 500 lies after the last one"):
        fit(plan, Told())


class Memory:
    """An accelerator that holds passes of so many tokens, and twice as many if recomputing."""

    def __init__(self, model: PeftModel, holds: int) -> None:
        self.model = model
        self.holds = holds

    def compute(self, passes: Passes, longest: int) -> int:
        needed = max(passes.tokens, longest)
        if needed > self.holds * (2 if self.model.is_gradient_checkpointing else 1):
            raise torch.OutOfMemoryError
        return passes.tokens


@pytest.mark.parametrize(
    ("holds", "ends_with", "recomputes"), [(1000, 1000, False), (300, 250, False), (60, 62, True)]
)
def test_a_step_that_does_not_fit_into_memory_is_done_in_smaller_passes(
    policy: PeftModel, holds: int, ends_with: int, *, recomputes: bool
) -> None:
    told = Told()
    passes = Passes(1000, tell=told.log)
    memory = Memory(policy, holds)

    assert passes.run(policy, lambda: memory.compute(passes, 100), longest=100) == ends_with
    assert policy.is_gradient_checkpointing == recomputes
    assert bool(told.logs) == (ends_with < 1000)


def test_a_row_that_never_fits_into_memory_is_an_error_naming_its_length(policy: PeftModel) -> None:
    passes = Passes(1000, tell=Told().log)
    memory = Memory(policy, 10)

    with pytest.raises(OutOfMemory, match="a single row of 100 tokens"):
        passes.run(policy, lambda: memory.compute(passes, 100), longest=100)
