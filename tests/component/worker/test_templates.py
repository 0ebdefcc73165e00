"""Templates, published and trained: one with episodes as gold answers, one with a secret."""

from pathlib import Path

from freesolo.domain.lifecycle import RunState
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import parse_document
from tests import tiny_model
from tests.component.package.template_folders import (
    PoliteJudge,
    secrets_of,
    write_template,
)
from tests.factories import pack_folder
from tests.platforms import Platform

# The tiny model reads bytes, so its rows are long.
OVERRIDES = (
    f"model={tiny_model.MODEL_ID}",
    *("train.max_steps=2", "train.batch_size=2", "train.lora_rank=4"),
    *("train.max_context_tokens=1024", "train.save_every=0"),
)


def test_templates_are_trained(platform: Platform, tmp_path: Path) -> None:
    platform.start_worker()
    judge = PoliteJudge("")
    try:
        for name in ("tool-use", "judge"):
            folder = write_template(name, tmp_path / name, rows=6, judge_url=judge.url)
            platform.client.publish(EnvRef("local", name), "0.1.0", pack_folder(folder))
            config = parse_document((folder / "configs" / "sft.toml").read_text(), OVERRIDES)
            run = platform.client.create_run(config, secrets_of(name))

            run = platform.wait_for_state(run, RunState.DONE)

            assert (run.step, run.total_steps) == (2, 2), name
    finally:
        judge.close()
    assert judge.requests
