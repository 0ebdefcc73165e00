"""`freesolo export`, of an adapter that was really trained: a folder for anybody, and nothing by halves."""

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from freesolo.domain.lifecycle import RunState
from freesolo.package.archive import file_digest
from freesolo.schemas.runs import Run
from hub_server.models import Checkpoint
from hub_server.models import Run as RunRow
from tests import tiny_model
from tests.component.cli.conftest import Freesolo
from tests.component.worker.test_training import COUNT, adapter_files
from tests.hubs import resources_of
from tests.platforms import Platform, running_platform, wait_for

SECRET = "judge-me-not-0123456789"
KEY = "AKIA" + "Q3EGRVNBJ5XKZ7TM"


@dataclass(frozen=True)
class Trained:
    """A platform with a run that has ended."""

    platform: Platform
    run: Run

    @property
    def base(self) -> Path:
        return self.platform.folder / "tiny"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("export")
    with running_platform(folder, migrated_sqlite) as platform:
        platform.publish("count", COUNT)
        platform.client.set_secret("JUDGE_API_KEY", SECRET)
        run = platform.client.create_run(
            {
                "model": tiny_model.MODEL_ID,
                "algorithm": "sft",
                # As an author should not, but may.
                "environment": {"id": "local/count", "params": {"key": KEY, "split": "train"}},
                "train": {"batch_size": 2, "lora_rank": 4, "max_steps": 30, "save_at_steps": [5]},
            },
        )
        platform.start_worker()
        yield Trained(platform, platform.wait_for_state(run, RunState.DONE))


@pytest.fixture
def command(trained: Trained, freesolo: Freesolo, monkeypatch: pytest.MonkeyPatch) -> Freesolo:
    """Run a command as the platform's user."""
    monkeypatch.setenv("FREESOLO_HUB_URL", trained.platform.hub.url)
    monkeypatch.setenv("FREESOLO_API_KEY", trained.platform.hub.user_key)
    return freesolo


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        answered: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return answered


def test_the_folder_has_the_trained_weights_and_says_what_made_them(
    command: Freesolo, trained: Trained
) -> None:
    told = command("export", trained.run.id, "--to", "out/adapter", "--json")

    assert told.code == 0, told.err
    folder = Path("out/adapter")
    stored = adapter_files(trained.platform, trained.run, 30)
    assert told.document["revision"] == trained.run.adapter_revision
    assert told.document["files"] == sorted([*stored, "README.md"])
    assert {path.name for path in Path("out").iterdir()} == {"adapter"}
    for name in ("adapter_model.safetensors", "provenance.json"):
        assert (folder / name).read_bytes() == stored[name]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config == json.loads(stored["adapter_config.json"])
    assert config["base_model_name_or_path"] == tiny_model.MODEL_ID


def test_peft_gives_the_exported_adapter_the_logits_of_the_trained_one(
    command: Freesolo, trained: Trained, tmp_path: Path
) -> None:
    assert command("export", trained.run.id, "--to", "adapter").code == 0
    as_trained = tmp_path / "as-trained"
    as_trained.mkdir()
    for name, content in adapter_files(trained.platform, trained.run, 30).items():
        (as_trained / name).write_bytes(content)

    base = logits(AutoModelForCausalLM.from_pretrained(trained.base))
    exported, original = (
        logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trained.base), each))
        for each in (Path("adapter"), as_trained)
    )
    assert torch.equal(exported, original)
    assert not torch.allclose(exported, base, atol=1e-3)


def test_a_merged_model_answers_as_base_and_adapter_do_together(
    command: Freesolo, trained: Trained
) -> None:
    assert command("export", trained.run.id, "--to", "adapter").code == 0
    told = command("export", trained.run.id, "--to", "merged", "--merge", "--json")

    assert told.code == 0, told.err
    assert told.document["merged"]["dtype"] == "float32"
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(trained.base), "adapter"
    )
    merged = AutoModelForCausalLM.from_pretrained("merged", dtype="auto")
    assert torch.allclose(logits(merged), logits(adapted), atol=1e-5)
    assert merged.generation_config.eos_token_id == 2
    hello = [{"role": "user", "content": "hello"}]
    written = [
        AutoTokenizer.from_pretrained(each).apply_chat_template(hello, tokenize=False)
        for each in ("merged", trained.base)
    ]
    assert written[0] == written[1]
    assert "library_name: transformers" in Path("merged/README.md").read_text()
    assert "provenance.json" in told.document["files"]


def test_a_checkpoint_and_a_full_revision_are_exported_too(
    command: Freesolo, trained: Trained
) -> None:
    told = command("export", f"{trained.run.id}/step-5", "--to", "early", "--json")
    again = command("export", told.document["revision"], "--to", "again", "--json")
    assert told.document["step"] == again.document["step"] == 5
    assert told.document["tree_digest"] == again.document["tree_digest"]
    assert "step 5" in Path("early/README.md").read_text()


def test_the_card_tells_everything_and_no_secret(command: Freesolo, trained: Trained) -> None:
    assert command("export", trained.run.id, "--to", "adapter").code == 0
    card = Path("adapter/README.md").read_text()
    run = trained.platform.client.run(trained.run.id)
    assert run.provenance is not None

    front = card.split("---")[1]
    for line in (f"base_model: {tiny_model.MODEL_ID}", "library_name: peft", "- lora", "- sft"):
        assert line in front
    for fact in (
        run.environment.tree_digest,
        f"`local/count` {run.environment.version}",
        tiny_model.REVISION,
        run.provenance.packages["torch"],
        f"{run.ended_at:%Y-%m-%d %H:%M} UTC",
        "| loss |",
        "--max-lora-rank 8 ",
        file_digest(Path("adapter/adapter_model.safetensors")),
        "The licence of the environment `local/count` is not known here.",
    ):
        assert fact in card
    config = tomllib.loads(card.split("```toml\n")[1].split("\n```")[0])
    assert (config["seed"], config["train"]["max_steps"]) == (run.spec["seed"], 30)
    assert config["environment"]["params"] == {"split": "train"}
    for secret in (SECRET, KEY, trained.platform.hub.user_key):
        assert secret not in card


@pytest.mark.parametrize(
    ("adapter", "code", "words"),
    [
        ("run-0000000000", 3, "run-0000000000"),
        ("nonsense", 2, "RUN_ID/step-20"),
        ("{run}/step-7", 3, "/step-30"),
        ("{run}@final." + "0" * 40, 3, "it has"),
    ],
)
def test_what_is_no_adapter_is_refused_and_nothing_is_made(
    command: Freesolo, trained: Trained, adapter: str, code: int, words: str
) -> None:
    refusal = command("export", adapter.format(run=trained.run.id), "--to", "out", "--json")
    assert refusal.code == code
    assert words in f"{refusal.error['message']} {refusal.error['hint']}"
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_with_files_is_left_alone(command: Freesolo, trained: Trained) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("keep me")
    refusal = command("export", trained.run.id, "--to", "mine", "--json")
    assert (refusal.code, refusal.error["code"]) == (4, "folder_not_empty_conflict")
    assert "--to" in refusal.error["hint"]
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]

    Path("empty").mkdir()
    assert command("export", trained.run.id, "--to", "empty").code == 0
    assert command("export", trained.run.id, "--to", "mine/notes.txt").code == 2
    assert command("export", trained.run.id, "--to", ".").code == 4


def test_the_folder_that_one_is_in_cannot_be_made_anew(command: Freesolo, trained: Trained) -> None:
    refusal = command("export", trained.run.id, "--to", ".", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_input")
    assert "--to adapter" in refusal.error["hint"]


def test_bytes_that_are_not_the_adapter_are_refused(command: Freesolo, trained: Trained) -> None:
    resources = resources_of(trained.platform.hub.app)
    with resources.sessions.begin() as session:
        kept = session.get_one(Checkpoint, (trained.run.id, 5))
        other = session.get_one(Checkpoint, (trained.run.id, 30))
        true = kept.adapter
        kept.adapter = true.model_copy(update={"archive_digest": other.adapter.archive_digest})
    try:
        refusal = command("export", f"{trained.run.id}/step-5", "--to", "out", "--json")
    finally:
        with resources.sessions.begin() as session:
            session.get_one(Checkpoint, (trained.run.id, 5)).adapter = true
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_environment")
    assert list(Path.cwd().iterdir()) == []


def test_merging_without_torch_says_what_is_missing(
    command: Freesolo, trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "peft.py").write_text("raise ImportError('No module named peft')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    refusal = command("export", trained.run.id, "--to", "out", "--merge", "--json")
    assert (refusal.code, refusal.error["code"]) == (8, "unavailable")
    assert "No module named peft" in refusal.error["message"]
    assert "freesolo[train]" in refusal.error["hint"]
    assert list(Path.cwd().iterdir()) == []


def test_a_base_model_that_left_the_catalog_is_named(command: Freesolo, trained: Trained) -> None:
    resources = resources_of(trained.platform.hub.app)
    with resources.sessions.begin() as session:
        session.get_one(RunRow, trained.run.id).model_revision = "random-0"
    try:
        refusal = command("export", trained.run.id, "--to", "out", "--merge", "--json")
        alone = command("export", trained.run.id, "--to", "alone")
    finally:
        with resources.sessions.begin() as session:
            session.get_one(RunRow, trained.run.id).model_revision = tiny_model.REVISION
    assert (refusal.code, refusal.error["code"]) == (4, "conflict")
    assert "random-0" in refusal.error["message"]
    assert alone.code == 0
    assert "in its catalog no more" in Path("alone/README.md").read_text()


def test_a_killed_export_leaves_no_folder_and_can_be_made_again(
    command: Freesolo, trained: Trained
) -> None:
    arguments = ["export", trained.run.id, "--to", "out", "--merge"]
    exporting = subprocess.Popen([sys.executable, "-m", "freesolo", *arguments])
    wait_for(lambda: any(Path.cwd().glob(".out-*/adapter/adapter_config.json")), seconds=60)
    exporting.send_signal(signal.SIGKILL)
    exporting.wait()
    assert not Path("out").exists()
    assert command("export", trained.run.id, "--to", "out").code == 0
