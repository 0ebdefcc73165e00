"""From a finished run to an adapter that answers under the run's id."""

from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from freesolo.client.transport import Transport
from freesolo.domain.catalog import BUILT_IN
from freesolo.domain.lifecycle import DeploymentState
from tests.component.gateway.conftest import BASE, HELLO, Author, Platform, eventually
from tests.hubs import LiveHub


def test_a_deployed_adapter_answers_under_its_run_s_id(platform: Platform) -> None:
    deployment = platform.deploy()
    assert deployment.state is DeploymentState.READY
    answer = platform.openai().chat.completions.create(model=deployment.model, messages=HELLO)
    assert answer.model == deployment.model
    assert answer.system_fingerprint == deployment.revision
    assert platform.engine.requests[-1]["model"].startswith("adapter-")


def test_an_adapter_without_effect_is_refused(platform: Platform) -> None:
    deployment = platform.deploy(scale=0)
    assert deployment.state is DeploymentState.FAILED
    assert deployment.error is not None
    assert "no effect" in deployment.error.message


def test_an_adapter_of_too_high_a_rank_is_refused_before_it_is_loaded(platform: Platform) -> None:
    deployment = platform.deploy(rank=512)
    assert deployment.error is not None
    assert deployment.error.code == "invalid_adapter"
    assert "rank 512" in deployment.error.message
    assert platform.process.starts == 0


def test_an_adapter_that_cannot_be_written_fails_its_deployment_with_the_reason(
    platform: Platform,
) -> None:
    # Stands in for a full disk: a file where the folder of adapters should be.
    platform.settings.data_dir.mkdir(exist_ok=True)
    (platform.settings.data_dir / "adapters").write_text("")
    deployment = platform.deploy()
    assert deployment.state is DeploymentState.FAILED
    assert deployment.error is not None
    assert deployment.error.code == "unavailable_storage_full"
    assert str(platform.settings.data_dir / "adapters") in deployment.error.message


def test_a_failed_deployment_leaves_the_old_adapter_in_its_place(platform: Platform) -> None:
    good, bad = platform.adapter("good", seed=1), platform.adapter("bad", seed=2, scale=0)
    run_id = platform.saved_run()
    platform.complete(run_id, bad, good)
    with platform.client() as hub:
        first = platform.settled(hub.deploy(run_id).id)
        second = platform.settled(hub.deploy(f"{run_id}/step-1").id)
    assert (first.state, second.state) == (DeploymentState.READY, DeploymentState.FAILED)
    answer = platform.openai().chat.completions.create(model=run_id, messages=HELLO)
    assert answer.system_fingerprint == first.revision


def test_what_a_killed_gateway_had_claimed_is_deployed_by_the_next(
    start_live_hub: Callable[..., LiveHub],
    start_gateway: Callable[[LiveHub], Platform],
    tmp_path: Path,
) -> None:
    author = Author(start_live_hub(lease_seconds=1), tmp_path)
    run_id = author.saved_run()
    author.complete(run_id, author.adapter("adapter"))
    with author.client() as hub:
        deployment = hub.deploy(run_id)
    killed = Transport(author.hub.url, author.hub.gateway_key)
    killed.request("POST", "/v1/gateway/deployments/claim")
    killed.close()
    platform = start_gateway(author.hub)
    assert platform.settled(deployment.id).state is DeploymentState.READY


def test_an_adapter_is_loaded_again_into_a_new_engine(platform: Platform) -> None:
    deployment = platform.deploy()
    platform.process.crash()
    client = platform.openai().with_options(max_retries=5)
    answer = client.chat.completions.create(model=deployment.model, messages=HELLO)
    assert answer.system_fingerprint == deployment.revision
    assert platform.process.starts == 2


def test_an_undeployed_adapter_is_not_found_within_a_second(platform: Platform) -> None:
    deployment = platform.deploy()
    client = platform.openai()
    client.chat.completions.create(model=deployment.model, messages=HELLO)
    with platform.client() as hub:
        hub.undeploy(deployment.model)

    def is_gone() -> bool:
        try:
            client.chat.completions.create(model=deployment.model, messages=HELLO)
        except openai.NotFoundError:
            return True
        return False

    assert eventually(is_gone, bool)


def test_a_deployed_adapter_is_listed_beside_its_base_model(platform: Platform) -> None:
    deployment = platform.deploy()
    assert {model.id for model in platform.openai().models.list()} == {*BUILT_IN, deployment.model}


@pytest.mark.parametrize("key", ["worker_key", "gateway_key"])
def test_a_service_key_may_not_chat(platform: Platform, key: str) -> None:
    client = platform.openai(getattr(platform.hub, key))
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model=BASE, messages=HELLO)


def test_a_download_that_a_killed_gateway_began_is_removed(
    live_hub: LiveHub, start_gateway: Callable[[LiveHub], Platform], tmp_path: Path
) -> None:
    unfinished = tmp_path / "gateway" / "adapters" / ".download-torn"
    unfinished.mkdir(parents=True)
    (unfinished / "archive").write_text("half")
    start_gateway(live_hub)
    eventually(unfinished.exists, lambda exists: not exists)
