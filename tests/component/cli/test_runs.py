"""train, runs, models, deploy: what is said to the hub, and what comes back."""

from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub

CONFIG = "dates/configs/sft.toml"


@pytest.fixture
def published(freesolo: Freesolo, with_hub: LiveHub) -> LiveHub:
    """A hub that has the template's environment, whose folder is `dates`."""
    assert freesolo("init", "dates").code == 0
    assert freesolo("publish", "dates").code == 0
    return with_hub


def test_a_dry_run_checks_everything_and_stores_nothing(
    freesolo: Freesolo, published: LiveHub
) -> None:
    plan = freesolo("train", CONFIG, "--dry-run", "--json")
    assert plan.code == 0
    assert plan.document["environment"]["version"] == "0.1.0"
    assert freesolo("runs", "list", "--json").document == {"runs": []}


def test_a_teacher_elsewhere_gets_its_key_from_the_shell(
    freesolo: Freesolo, published: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("algorithm=opd", "train.teacher_model=https://host/v1#large")
    teacher = [f"--set={key}" for key in (*keys, "train.max_completion_tokens=16")]
    monkeypatch.setenv("TEACHER_API_KEY", "tk-123")
    plan = freesolo("train", CONFIG, *teacher, "--dry-run", "--json")
    assert (plan.document["secrets"], plan.document["job_secrets"]) == ([], ["TEACHER_API_KEY"])
    told = freesolo("train", CONFIG, *teacher, "--background")
    assert "The training process gets TEACHER_API_KEY from the shell." in told.err
    assert "tk-123" not in told.out + told.err


def test_a_run_in_the_background_is_queued_with_its_pins(
    freesolo: Freesolo, published: LiveHub
) -> None:
    run = freesolo("train", CONFIG, "--background", "--set", "train.max_steps=3", "--json").document
    assert (run["state"], run["adapter_revision"]) == ("queued", None)
    assert run["spec"]["train"]["max_steps"] == 3
    shown = freesolo("runs", "show", run["id"], "--json").document
    assert shown["environment"] == run["environment"]
    assert freesolo("runs", "checkpoints", run["id"], "--json").document == {"checkpoints": []}
    assert freesolo("runs", "logs", run["id"], "--json").document["events"]


def test_a_queued_run_is_cancelled_at_once_and_following_it_gives_one(
    freesolo: Freesolo, published: LiveHub
) -> None:
    run = freesolo("train", CONFIG, "--background", "--json").document
    assert freesolo("runs", "cancel", run["id"], "--json").document["state"] == "cancelled"
    followed = freesolo("runs", "logs", run["id"], "--follow", "--json")
    assert followed.document["state"] == "cancelled"
    assert freesolo("runs", "cancel", run["id"], "--json").code in (0, 4)


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("train.learningrate=1", 2, "learning_rate"),
        ("train.lora_rank=64", 2, "32"),
        ("model=HuggingFaceTB/SmolLM2-135M", 3, "SmolLM2-135M-Instruct"),
        ("environment.id=local/datse", 3, "dates"),
        ("environment.id=local/dates@>=7", 3, "0.1.0"),
        ("algorithm=gpro", 2, "grpo"),
    ],
)
@pytest.mark.parametrize("mode", ["--dry-run", "--background"])
def test_a_wrong_config_is_answered_with_the_nearest_valid_name(
    freesolo: Freesolo, published: LiveHub, override: str, code: int, words: str, mode: str
) -> None:
    refusal = freesolo("train", CONFIG, "--set", override, mode, "--json")
    assert refusal.code == code
    said = [refusal.error["message"], refusal.error["hint"], str(refusal.error["problems"])]
    assert words in " ".join(str(part) for part in said)


def test_a_config_that_is_not_there_is_a_usage_error(freesolo: Freesolo) -> None:
    refusal = freesolo("train", "nowhere.toml", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_input")
    assert "nowhere.toml" in refusal.error["message"]


def test_a_config_that_is_not_text_is_refused(freesolo: Freesolo) -> None:
    Path("binary.toml").write_bytes(b"\xff\xfe")
    refusal = freesolo("train", "binary.toml", "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_train_spec")
    assert "binary.toml" in refusal.error["message"]


@pytest.mark.parametrize("run_id", ["", "..", "../environments", "x?limit=1", "a/b"])
def test_an_id_never_leads_to_another_route(
    freesolo: Freesolo, with_hub: LiveHub, run_id: str
) -> None:
    for command in (("runs", "show"), ("runs", "cancel"), ("undeploy",)):
        assert freesolo(*command, run_id, "--json").code in (2, 3)


def test_an_unknown_run_is_not_found(freesolo: Freesolo, with_hub: LiveHub) -> None:
    assert freesolo("runs", "show", "run-0123456789", "--json").code == 3
    assert freesolo("deploy", "run-0123456789", "--json").code == 3
    assert freesolo("deploy", "nonsense", "--json").code == 2
    assert freesolo("undeploy", "run-0123456789", "--json").code == 3


def test_a_run_without_a_checkpoint_cannot_be_deployed(
    freesolo: Freesolo, published: LiveHub
) -> None:
    run = freesolo("train", CONFIG, "--background", "--json").document
    refusal = freesolo("deploy", run["id"], "--json")
    assert (refusal.code, refusal.error["code"]) == (3, "adapter_not_found")


def test_models_are_listed_with_limits_and_prices(freesolo: Freesolo, with_hub: LiveHub) -> None:
    (model,) = freesolo("models", "--json").document["models"]
    assert model["id"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert model["max_rank"] == 32
    assert isinstance(model["price_input"], int)


def test_the_config_of_the_template_names_the_new_environment(freesolo: Freesolo) -> None:
    freesolo("init", "poems")
    assert 'id = "local/poems"' in Path("poems/configs/sft.toml").read_text()
