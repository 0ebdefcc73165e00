"""From a finished run to an adapter that answers under the run's id."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

from freesolo.client.hub import HubClient
from freesolo.client.transport import Transport
from freesolo.domain.catalog import BUILT_IN
from freesolo.domain.lifecycle import DeploymentState
from freesolo.domain.refs import AdapterRef
from tests.component.gateway.conftest import BASE, HELLO, Author, Platform, eventually
from tests.hubs import LiveHub, make_keys

# For so long the gateway may answer by what it knows.
_CACHED_SECONDS = 1.0


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


def test_an_engine_that_fails_to_load_what_is_live_is_no_fault_of_the_caller_s(
    platform: Platform,
) -> None:
    deployment = platform.deploy()
    platform.process.crash()
    client = platform.openai()
    client.with_options(max_retries=5).chat.completions.create(model=BASE, messages=HELLO)
    platform.engine.faults.add("loads nothing")
    with pytest.raises(openai.InternalServerError, match="cannot be loaded") as refused:
        client.chat.completions.create(model=deployment.model, messages=HELLO)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) > 0


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


def test_older_revisions_answer_by_their_names(platform: Platform) -> None:
    run_id = platform.two_adapters()
    older, newer = (platform.make_live(each) for each in (f"{run_id}/step-1", run_id))
    client = platform.openai()
    for name, revision in (
        (run_id, newer.revision),
        (older.revision, older.revision),
        (newer.revision, newer.revision),
    ):
        answer = client.chat.completions.create(model=name, messages=HELLO)
        assert (answer.model, answer.system_fingerprint) == (name, revision)
        assert _adapter_of(str(answer.choices[0].message.content)) == _content(revision)


def test_what_is_staged_is_shown_and_answers_but_is_not_listed(platform: Platform) -> None:
    run_id = platform.two_adapters()
    staged = platform.make_live(run_id, stage=True)
    client = platform.openai()
    answer = client.chat.completions.create(model=staged.revision, messages=HELLO)
    assert answer.system_fingerprint == staged.revision
    shown = client.models.retrieve(staged.revision)
    assert staged.ready_at is not None
    assert (shown.id, shown.created) == (staged.revision, int(staged.ready_at.timestamp()))
    assert {model.id for model in client.models.list()} == set(BUILT_IN)
    for call in (
        lambda: client.models.retrieve(run_id),
        lambda: client.chat.completions.create(model=run_id, messages=HELLO),
    ):
        with pytest.raises(openai.NotFoundError, match=staged.revision):
            call()


def test_another_org_s_revision_looks_like_one_of_nobody(platform: Platform) -> None:
    deployment = platform.deploy()
    nobody_s = f"run-0000000000@final.{'0' * 40}"
    stranger = platform.openai(make_keys(platform.hub.app, org="acme").user)
    told = []
    for name in (deployment.revision, nobody_s):
        with pytest.raises(openai.NotFoundError) as refused:
            stranger.models.retrieve(name)
        told.append(refused.value.response.text.replace(name, "NAME"))
    assert told[0] == told[1]


def test_a_rollback_is_smoked_and_moves_the_alias_back(platform: Platform) -> None:
    run_id = platform.two_adapters()
    before, _ = (platform.make_live(each) for each in (f"{run_id}/step-1", run_id))
    asked = len(platform.engine.requests)
    with platform.client() as hub:
        back = platform.settled(hub.roll_back(run_id).id)
    assert (back.state, back.active) == (DeploymentState.READY, True)
    assert len(platform.engine.requests) > asked
    answer = platform.openai().chat.completions.create(model=run_id, messages=HELLO)
    assert answer.system_fingerprint == before.revision


def test_a_withdrawn_revision_is_not_found_within_a_second(platform: Platform) -> None:
    run_id = platform.two_adapters()
    older, newer = (platform.make_live(each) for each in (f"{run_id}/step-1", run_id))
    client = platform.openai()
    client.chat.completions.create(model=older.revision, messages=HELLO)
    with platform.client() as hub:
        hub.undeploy(older.revision)
    withdrawn = time.monotonic()

    def is_gone() -> bool:
        try:
            client.chat.completions.create(model=older.revision, messages=HELLO)
        except openai.NotFoundError:
            return True
        # Asked at once after its second, it must be gone.
        assert time.monotonic() - withdrawn < _CACHED_SECONDS + 1
        return False

    assert eventually(is_gone, bool)
    answer = client.chat.completions.create(model=run_id, messages=HELLO)
    assert answer.system_fingerprint == newer.revision


def test_what_is_withdrawn_while_it_loads_never_answers_and_holds_nobody_up(
    platform: Platform,
) -> None:
    run_id = platform.two_adapters()
    platform.process.may_start.clear()
    with platform.client() as hub:
        coming = hub.deploy(run_id)
        eventually(
            lambda: hub.deployment(coming.id), lambda it: it.state is DeploymentState.LOADING
        )
        hub.undeploy(run_id)
        platform.process.may_start.set()
        next_one = platform.make_live(f"{run_id}/step-1")
        assert hub.deployment(coming.id).state is DeploymentState.UNDEPLOYED
    client = platform.openai()
    answer = client.chat.completions.create(model=run_id, messages=HELLO)
    assert answer.system_fingerprint == next_one.revision
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=coming.revision, messages=HELLO)


def test_a_thousand_requests_across_twenty_switches_all_get_one_revision_whole(
    platform: Platform,
) -> None:
    run_id = platform.saved_run()
    platform.complete(run_id, *(platform.adapter(f"at-{n}", seed=n) for n in range(3)))
    adapters = [f"{run_id}/step-1", f"{run_id}/step-2", run_id]
    live = [platform.make_live(each) for each in adapters]
    names = [run_id, run_id, run_id, live[0].revision]
    switches = iter([adapters[turn % 3] for turn in range(20)])
    moved: list[str] = []

    async def ask_all(hub: HubClient) -> list[tuple[str, set[str], str]]:
        headers = {"Authorization": f"Bearer {platform.hub.user_key}"}
        async with httpx.AsyncClient(
            base_url=platform.url, headers=headers, timeout=60, trust_env=False
        ) as client:
            numbers = iter(range(1000))
            answers: list[tuple[str, set[str], str]] = []

            async def ask() -> None:
                for number in numbers:
                    if number % 50 == 0:
                        switched = await asyncio.to_thread(hub.deploy, next(switches))
                        moved.append(switched.id)
                    name = names[number % len(names)]
                    answers.append((name, *await _asked(client, name, stream=number % 3 == 0)))

            await asyncio.gather(*(ask() for _ in range(8)))
            return answers

    with platform.client() as hub:
        answers = asyncio.run(ask_all(hub))
        platform.settled(moved[-1])
        ended = [each for each in hub.deployments(everything=True) if each.id in moved]

    assert len(answers) == 1000
    revisions = {each.revision for each in live}
    for name, fingerprints, text in answers:
        (revision,) = fingerprints
        assert revision in ({name} if name in revisions else revisions)
        assert _adapter_of(text) == _content(revision)
    # The alias moved under them, to some or all of the three.
    assert len({revision for _, (revision,), _ in answers}) > 1
    # None was passed over: the alias pointed to each in its turn.
    assert len(ended) == 20
    assert {(each.staged, each.ready_at is not None) for each in ended} == {(False, True)}


async def _asked(client: httpx.AsyncClient, name: str, *, stream: bool) -> tuple[set[str], str]:
    """Return every fingerprint in an answer, and its text."""
    body = {"model": name, "messages": HELLO, "stream": stream}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    if not stream:
        answer = response.json()
        return {answer["system_fingerprint"]}, answer["choices"][0]["message"]["content"]
    *events, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert end == "[DONE]"
    chunks = [json.loads(event) for event in events]
    said = [choice["delta"].get("content") or "" for each in chunks for choice in each["choices"]]
    return {chunk["system_fingerprint"] for chunk in chunks}, "".join(said)


def _adapter_of(text: str) -> str:
    """Return the content of the adapter that said this: the stand-in begins with its name."""
    return text.split(" ")[0].removeprefix("adapter-")


def _content(revision: str) -> str:
    return AdapterRef.parse(revision).content


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
