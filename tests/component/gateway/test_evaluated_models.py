"""A model of the platform, asked as `freesolo eval` asks it: through the gateway, by its alias."""

from collections.abc import Iterator

import pytest

from freesolo.client.chat import ChatClient
from freesolo.errors import Forbidden, ModelMoved
from freesolo.evaluation.models import AskedModel, Sampling, find_target
from tests.component.gateway.conftest import BASE, Platform
from tests.hubs import make_keys

HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def chat(platform: Platform) -> Iterator[ChatClient]:
    with ChatClient(f"{platform.url}/v1", platform.hub.user_key) as client:
        yield client


def asked(platform: Platform, chat: ChatClient, target: str) -> AskedModel:
    """Return a model by what a user calls it."""
    with platform.client() as hub:
        return AskedModel(chat, find_target(target, hub), Sampling(8, 0.0, seed=1), settled=True)


def test_the_revision_behind_an_alias_is_known(platform: Platform, chat: ChatClient) -> None:
    deployment = platform.deploy()
    for name in (deployment.model, deployment.revision, f"{deployment.model}/step-1"):
        model = asked(platform, chat, name)
        assert "heard hello there" in model.ask(HELLO, sample=0)
        assert model.revision == deployment.revision


def test_a_base_model_is_known_by_its_own_revision(platform: Platform, chat: ChatClient) -> None:
    model = asked(platform, chat, BASE)
    model.ask(HELLO, sample=0)
    assert platform.engine.requests[-1]["seed"] == 1
    assert model.revision not in (None, BASE)


def test_an_alias_that_moves_between_two_answers_is_noticed(
    platform: Platform, chat: ChatClient
) -> None:
    run_id = platform.saved_run()
    platform.complete(run_id, platform.adapter("first"), platform.adapter("second", seed=1))
    with platform.client() as hub:
        first = platform.settled(hub.deploy(f"{run_id}/step-1").id)
        model = asked(platform, chat, run_id)
        model.ask(HELLO, sample=0)
        platform.settled(hub.deploy(run_id).id)
    # The gateway may answer by the old one for as long as it remembers it.
    answers = (model.ask(HELLO, sample=sample) for sample in range(10_000))
    with pytest.raises(ModelMoved, match=first.revision):
        list(answers)


def test_the_gateway_is_told_which_org_is_meant(platform: Platform) -> None:
    elsewhere = make_keys(platform.hub.app, org="acme").user
    for org, key in (("local", platform.hub.user_key), ("acme", elsewhere)):
        with ChatClient(f"{platform.url}/v1", key, org=org) as client:
            assert client.complete(BASE, HELLO, max_tokens=8, temperature=0).text
    with (
        ChatClient(f"{platform.url}/v1", elsewhere, org="local") as client,
        pytest.raises(Forbidden, match="does not belong to the org 'local'"),
    ):
        client.complete(BASE, HELLO, max_tokens=8, temperature=0)
