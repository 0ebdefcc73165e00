"""On-policy distillation of the tiny model, under an adapter of its own and under an endpoint."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from freesolo.domain.secrets import TEACHER_API_KEY
from freesolo.domain.train_spec import parse_train_spec
from freesolo.domain.watchdog import Phase
from freesolo.errors import EnvironmentFailed, InvalidTrainSpec, Unauthorized
from freesolo.runtime.client import EnvironmentHost, HostOptions, open_host
from freesolo.schemas.environments import PinnedEnvironment
from freesolo.schemas.leases import Lease
from tests.component.training.conftest import make_policy
from tests.factories import make_environment
from tests.fake_vllm import KEY, FakeVllm, PairTokens, TinyTokens
from tests.hubs import serving
from tests.tiny_model import MODEL_ID, catalog_entry
from training_backend.machine import find_machine
from training_backend.recipes import opd
from training_backend.recipes.task import Sample, Task

_SOURCE = """
from freesolo.environments import EnvironmentSingleTurn, RewardResult


class Agree(EnvironmentSingleTurn):
    dataset = [{"input": "Do you agree?", "output": "yes"}]

    def build_prompt_messages(self, example, prompt_text):
        return [{"role": "user", "content": example.input}]

    def score_response(self, example, response_text):
        return RewardResult(float(response_text.strip() == example.output))


def load_environment():
    return Agree()
"""
_DIGEST = f"sha256:{'ab' * 32}"
_WEIGHTS = "adapter_model.safetensors"


@dataclass
class Told:
    """A progress that keeps what it is told, and every checkpoint."""

    folder: Path
    steps: list[Mapping[str, float]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    shown: list[Sequence[Sample]] = field(default_factory=list)

    def started(self, total_steps: int, *, sampler: str | None = None) -> None:
        self.lines.append(f"{total_steps} steps, sampled {sampler}")

    def phase(self, phase: Phase) -> None:
        return

    def log(self, message: str) -> None:
        self.lines.append(message)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(values)

    def samples(self, step: int, samples: Sequence[Sample]) -> None:
        self.shown.append(samples)

    def checkpoint(self, step: int, folder: Path) -> None:
        shutil.copytree(folder, self.folder / f"step-{step}")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvironmentHost]:
    """An environment with one prompt."""
    folder = make_environment(tmp_path_factory.mktemp("environment") / "agree", source=_SOURCE)
    with open_host(folder, HostOptions(tmp_path_factory.mktemp("cache"))) as opened:
        yield opened


@pytest.fixture
def teacher_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """An adapter that speaks quite otherwise than the tiny model."""
    model = make_policy(tiny_folder)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


def make_task(
    host: EnvironmentHost,
    model: Path,
    folder: Path,
    *,
    teacher: str = "run-ab12cd34ef",
    **train: object,
) -> tuple[Task, Told]:
    """Return a task in a folder of its own, and who hears of it."""
    table = {
        "teacher_model": teacher,
        "batch_size": 4,
        "group_size": 4,
        "max_steps": 12,
        "max_completion_tokens": 12,
        "learning_rate": 1e-2,
        "lora_rank": 8,
        **train,
    }
    lease = Lease(
        run_id="run-ab12cd34ef",
        attempt=1,
        token="secret-token",
        lease_seconds=30,
        spec=parse_train_spec(
            {
                "model": MODEL_ID,
                "algorithm": "opd",
                "environment": {"id": "local/agree"},
                "train": table,
            }
        ),
        environment=PinnedEnvironment(
            ref="local/agree", version="0.1.0", tree_digest=_DIGEST, archive_digest=_DIGEST, size=1
        ),
        model=catalog_entry(model),
    )
    work_dir = folder / "work"
    work_dir.mkdir(parents=True)
    told = Told(folder)
    task = Task(
        lease=lease,
        host=host,
        model_folder=model,
        work_dir=work_dir,
        progress=told,
        machine=find_machine(),
        resume_from=None,
    )
    return task, told


def test_a_save_after_the_last_step_is_refused_before_the_model_is_loaded(
    host: EnvironmentHost, tmp_path: Path, tiny_folder: Path
) -> None:
    task, told = make_task(host, tiny_folder, tmp_path, max_steps=0, epochs=3, save_at_steps=[500])

    with pytest.raises(InvalidTrainSpec, match="Step 500 lies after the last one, 1"):
        opd.train(with_teacher(task, teacher_model=tiny_folder))

    assert told.steps == []


def with_teacher(task: Task, **changes: object) -> Task:
    return Task(**{**vars(task), **changes})


def test_the_student_comes_closer_to_its_teacher_and_resumes_to_the_same_bytes(
    host: EnvironmentHost, tiny_folder: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    task, told = make_task(host, tiny_folder, tmp_path / "whole", save_at_steps=[5])
    taught = {"teacher_model": tiny_folder, "teacher_adapter": teacher_folder}
    assert opd.train(with_teacher(task, **taught)) == 12

    gaps = [step["teacher_kl"] for step in told.steps]
    assert sum(gaps[-3:]) < 0.6 * sum(gaps[:3])
    assert {step["coverage"] for step in told.steps} == {1.0}
    assert {"reward", "teacher/tokens", "time/teacher", "tokens/sampled"} <= set(told.steps[0])
    assert {"num_tokens", "env/reset_s", "perf/weight_sync_s"} <= set(told.steps[0])
    assert all(sample.advantage for sample in told.shown[0])
    # What is saved is the student alone.
    assert {path.name for path in (told.folder / "step-12").rglob(_WEIGHTS)} == {_WEIGHTS}
    assert not (told.folder / "step-12" / "teacher").exists()

    again, resumed = make_task(host, tiny_folder, tmp_path / "resumed", save_at_steps=[5])
    opd.train(with_teacher(again, **taught, resume_from=told.folder / "step-5"))
    assert len(resumed.steps) == 7
    assert resumed.steps[-1]["num_tokens"] == told.steps[-1]["num_tokens"]
    whole = (told.folder / "step-12" / _WEIGHTS).read_bytes()
    assert (resumed.folder / "step-12" / _WEIGHTS).read_bytes() == whole


def test_the_base_model_can_teach_a_student_that_left_it(
    host: EnvironmentHost, tiny_folder: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    task, told = make_task(
        host,
        tiny_folder,
        tmp_path / "back",
        lora_rank=None,
        init_from_adapter="run-ab12cd34ef",
        max_steps=1,
    )
    opd.train(with_teacher(task, teacher_model=tiny_folder, warm_start=teacher_folder))
    assert told.steps[0]["teacher_kl"] > 0.05


def test_another_model_teaches_in_a_copy_of_its_own(
    host: EnvironmentHost, tiny_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    task, told = make_task(host, tiny_folder, tmp_path / "run", max_steps=1)
    opd.train(with_teacher(task, teacher_model=other))
    # The same weights, and an adapter that does nothing yet.
    assert told.steps[0]["teacher_kl"] == pytest.approx(0.0, abs=0.01)


def test_an_adapter_on_another_model_teaches_in_a_copy_of_that(
    host: EnvironmentHost, tiny_folder: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    here, told_here = make_task(host, tiny_folder, tmp_path / "here", max_steps=1)
    opd.train(with_teacher(here, teacher_model=tiny_folder, teacher_adapter=teacher_folder))
    apart, told_apart = make_task(host, tiny_folder, tmp_path / "apart", max_steps=1)
    opd.train(with_teacher(apart, teacher_model=other, teacher_adapter=teacher_folder))
    # The same weights and the same adapter, wherever they are.
    gap = told_here.steps[0]["teacher_kl"]
    assert gap > 0.05
    assert told_apart.steps[0]["teacher_kl"] == pytest.approx(gap, rel=0.02)


def test_an_endpoint_with_the_same_tokens_is_asked_about_each(
    host: EnvironmentHost, tiny_folder: Path, tmp_path: Path
) -> None:
    vllm = FakeVllm(TinyTokens(tiny_folder))
    with serving(vllm.app) as url:
        task, told = make_task(
            host, tiny_folder, tmp_path / "run", teacher=f"{url}/v1#base", max_steps=2
        )
        opd.train(with_teacher(task, secrets={TEACHER_API_KEY: KEY}))
    assert {step["coverage"] for step in told.steps} == {1.0}
    assert all(math.isfinite(step["teacher_kl"]) for step in told.steps)


def test_an_endpoint_with_other_tokens_is_asked_about_the_same_text(
    host: EnvironmentHost, tiny_folder: Path, tmp_path: Path
) -> None:
    vllm = FakeVllm(PairTokens())
    with serving(vllm.app) as url:
        task, told = make_task(
            host, tiny_folder, tmp_path / "run", teacher=f"{url}/v1#base", max_steps=2
        )
        opd.train(with_teacher(task, secrets={TEACHER_API_KEY: KEY}))
    assert any("other tokens" in line for line in told.lines)
    assert all(step["coverage"] > 0.5 for step in told.steps)


def test_an_endpoint_that_tells_nothing_of_prompts_is_refused_by_its_name(
    host: EnvironmentHost, tiny_folder: Path, tmp_path: Path
) -> None:
    vllm = FakeVllm(TinyTokens(tiny_folder))
    vllm.prompts_told = 0
    with serving(vllm.app) as url:
        task, _ = make_task(host, tiny_folder, tmp_path / "run", teacher=f"{url}/v1#base")
        with pytest.raises(InvalidTrainSpec, match=rf"{url}/v1#base gives no prompt logprobs"):
            opd.train(with_teacher(task, secrets={TEACHER_API_KEY: KEY}))


def test_an_endpoint_that_wants_another_key_is_named_without_it(
    host: EnvironmentHost, tiny_folder: Path, tmp_path: Path
) -> None:
    vllm = FakeVllm(TinyTokens(tiny_folder))
    with serving(vllm.app) as url:
        task, _ = make_task(host, tiny_folder, tmp_path / "run", teacher=f"{url}/v1#base")
        with pytest.raises(Unauthorized) as caught:
            opd.train(with_teacher(task, secrets={TEACHER_API_KEY: "wrong-key"}))
    assert "wrong-key" not in str(caught.value)


def test_a_teacher_that_says_nothing_ends_the_run(
    host: EnvironmentHost, tiny_folder: Path, tmp_path: Path
) -> None:
    vllm = FakeVllm(TinyTokens(tiny_folder))
    # It answers when it is tried, and never again.
    vllm.prompts_told = 1
    with serving(vllm.app) as url:
        task, told = make_task(host, tiny_folder, tmp_path / "run", teacher=f"{url}/v1#base")
        with pytest.raises(EnvironmentFailed, match="said nothing of any token"):
            opd.train(with_teacher(task, secrets={TEACHER_API_KEY: KEY}))
    assert [step["coverage"] for step in told.steps] == [0.0] * 4
