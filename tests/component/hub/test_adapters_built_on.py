"""Runs that go on from an adapter, or are taught by one: what they are bound to, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from httpx2 import Response
from sqlalchemy import event
from sqlalchemy.orm import Session

from freesolo.domain.catalog import with_models
from freesolo.domain.refs import adapter_revision
from hub_server.maintenance.checking import check
from hub_server.maintenance.collecting import collect
from hub_server.models import Blob, Checkpoint, Run
from tests.component.hub.harness import MODEL, Document, HubUnderTest, error_of

ENVIRONMENT = {"id": "local/agree"}
OTHER_MODEL = "acme/other"


def ask(hub: HubUnderTest, spec: Document, **more: object) -> Response:
    """Ask for a run; `key` is whose, by default the user's."""
    key = more.pop("key", None)
    client = hub.client(str(key)) if key else hub.user
    body = {"spec": {"model": MODEL, "environment": ENVIRONMENT, **spec}, **more}
    return client.post("/v1/runs", json=body)


def warm(hub: HubUnderTest, adapter: str, **more: object) -> Response:
    """Ask for a run that goes on from an adapter."""
    return ask(hub, {"train": {"init_from_adapter": adapter}}, **more)


def taught(hub: HubUnderTest, teacher: str, **more: object) -> Response:
    """Ask for a run under a teacher."""
    return ask(hub, {"algorithm": "opd", "train": {"teacher_model": teacher}}, **more)


def add_model(hub: HubUnderTest, model_id: str, **changes: object) -> None:
    """Offer another base model, or an entry in place of one."""
    entry = hub.resources.catalog[MODEL].model_copy(update={"id": model_id, **changes})
    hub.resources = replace(hub.resources, catalog=with_models(hub.resources.catalog, [entry]))
    hub.app.state.resources = hub.resources


def refused_at(response: Response) -> tuple[int, str, str]:
    """Return the status, the place and the words of a refused config."""
    error = error_of(response)
    (problem,) = error["problems"]
    return response.status_code, problem["path"], f"{problem['message']} {error['hint']}"


def test_a_warm_start_is_bound_to_one_adapter_and_put_into_the_lease(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    first = any_hub.train()
    saved = any_hub.user.get(f"/v1/runs/{first}/checkpoints").json()["checkpoints"]

    run = warm(any_hub, first).json()

    pinned = any_hub.claim()["warm_start"]
    assert (pinned["run_id"], pinned["step"], pinned["rank"]) == (first, 2, 32)
    assert pinned["tree_digest"] == saved[-1]["digest"]
    assert pinned["archive_digest"].startswith("sha256:")
    assert run["warm_start"]["tree_digest"] == saved[-1]["digest"]
    assert any_hub.run(run["id"])["warm_start"] == run["warm_start"]


def test_each_checkpoint_of_a_run_can_be_gone_on_from_also_by_its_full_revision(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    first = hub.train()
    saved = hub.user.get(f"/v1/runs/{first}/checkpoints").json()["checkpoints"]
    for text in (f"{first}/step-1", adapter_revision(first, 1, saved[0]["digest"])):
        assert warm(hub, text).json()["warm_start"]["tree_digest"] == saved[0]["digest"]


def test_a_warm_start_names_all_its_ancestors(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    second = warm(hub, first).json()["id"]
    lease = hub.claim()
    hub.report(lease, "start", {"total_steps": 1})
    hub.save(lease, 1, b"second")
    hub.report(lease, "complete", {"step": 1})

    third = warm(hub, second).json()["warm_start"]

    assert (third["run_id"], third["step"]) == (second, 1)
    assert [(each["run_id"], each["step"]) for each in third["ancestors"]] == [(first, 2)]


def test_a_dry_run_tells_what_would_be_gone_on_from(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    plan = warm(hub, first, dry_run=True).json()
    assert (plan["warm_start"]["run_id"], plan["warm_start"]["step"]) == (first, 2)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_that_is_not_done_has_no_final_adapter_and_its_steps_are_named(
    hub: HubUnderTest, dry_run: bool
) -> None:
    hub.publish()
    run_id = hub.submit()
    lease = hub.claim()
    hub.save(lease, 1)
    hub.save(lease, 2)
    status, path, words = refused_at(warm(hub, run_id, dry_run=dry_run))
    assert (status, path) == (422, "train.init_from_adapter")
    assert "has no final adapter" in words
    assert f"after step 1, 2; write `{run_id}/step-2`" in words


def test_a_step_that_was_not_saved_is_refused_with_those_that_were(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    status, _, words = refused_at(warm(hub, f"{first}/step-7"))
    assert status == 422
    assert "nothing after step 7" in words
    assert "after step 1, 2" in words


@pytest.mark.parametrize("ask_for", [warm, taught])
def test_a_run_of_another_org_is_answered_like_one_that_never_was(
    hub: HubUnderTest, ask_for: Callable[..., Response]
) -> None:
    hub.publish()
    hub.user.put("/v1/envs/local/agree/visibility", json={"visibility": "public"})
    first = hub.train()
    stranger = hub.make_member("acme")
    told = [error_of(ask_for(hub, run_id, key=stranger)) for run_id in (first, "run-0000000000")]
    assert told[0]["code"] == "invalid_train_spec"
    assert f"There is no run '{first}'." in told[0]["message"]
    assert told[0]["message"].replace(first, "run-0000000000") == told[1]["message"]
    assert told[0]["hint"] == told[1]["hint"]


def test_an_adapter_of_another_base_model_or_revision_is_refused(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    add_model(hub, OTHER_MODEL)
    on_other = ask(hub, {"model": OTHER_MODEL, "train": {"init_from_adapter": first}})
    assert f'Write `model = "{MODEL}"`' in refused_at(on_other)[2]
    add_model(hub, MODEL, revision="newer")
    assert "not on HuggingFaceTB/SmolLM2-135M-Instruct newer" in refused_at(warm(hub, first))[2]


def test_an_adapter_of_too_high_a_rank_is_refused(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    add_model(hub, MODEL, max_rank=16)
    status, path, words = refused_at(warm(hub, first))
    assert (status, path) == (422, "train.init_from_adapter")
    assert "has rank 32, above the 16" in words


def test_what_a_run_goes_on_from_outlives_the_row_of_its_checkpoint(
    stored_hub: HubUnderTest,
) -> None:
    stored_hub.publish()
    first = stored_hub.train()
    second = warm(stored_hub, first).json()["id"]
    resources = stored_hub.resources
    with resources.sessions.begin() as session:
        session.delete(session.get_one(Checkpoint, (first, 2)))
        warm_start = session.get_one(Run, second).warm_start
    assert warm_start is not None
    stored_hub.clock.advance(timedelta(days=2).total_seconds())

    collect(resources.sessions, resources.blobs, now=stored_hub.clock())

    assert resources.blobs.size(warm_start.archive_digest) == warm_start.size
    resources.blobs.delete(warm_start.archive_digest)
    with resources.readers() as session:
        keys = resources.signer.public_keys
        health = check(session, resources.blobs, keys, vault=resources.vault)
    assert [finding.what for finding in health.findings] == [f"warm start of {second}"]


def test_a_teacher_of_the_catalog_is_bound_and_put_into_the_lease(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    add_model(any_hub, OTHER_MODEL)
    run = taught(any_hub, OTHER_MODEL).json()
    assert run["teacher"]["model"] == OTHER_MODEL
    teacher = any_hub.claim()["teacher"]
    assert (teacher["model"]["id"], teacher["adapter"]) == (OTHER_MODEL, None)


def test_an_adapter_that_teaches_comes_with_its_base_model(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    first = any_hub.train()
    taught(any_hub, f"{first}/step-1")
    teacher = any_hub.claim()["teacher"]
    assert teacher["model"]["id"] == MODEL
    assert (teacher["adapter"]["run_id"], teacher["adapter"]["step"]) == (first, 1)


def test_a_run_whose_teacher_left_the_catalog_waits_until_it_is_back(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    add_model(any_hub, OTHER_MODEL)
    taught(any_hub, OTHER_MODEL)
    add_model(any_hub, OTHER_MODEL, revision="newer")
    assert not any_hub.claim()
    add_model(any_hub, OTHER_MODEL)
    assert any_hub.claim()


def test_a_teacher_that_is_not_here_is_refused_with_the_nearest(hub: HubUnderTest) -> None:
    hub.publish()
    status, path, words = refused_at(taught(hub, f"{MODEL}s"))
    assert (status, path) == (422, "train.teacher_model")
    assert MODEL in words


def test_a_teacher_elsewhere_is_left_as_it_is(hub: HubUnderTest) -> None:
    hub.publish()
    run = taught(hub, "https://teacher.example/v1#large").json()
    assert run["spec"]["train"]["teacher_model"] == "https://teacher.example/v1#large"
    assert (run["teacher"], hub.claim()["teacher"]) == (None, None)


def secrets_of(hub: HubUnderTest) -> Document:
    """Return the secrets of the run that a worker is given next."""
    lease = hub.claim()
    headers = {"Freesolo-Lease": lease["token"]}
    answer: Document = hub.worker.get(
        f"/v1/leases/{lease['run_id']}/secrets", headers=headers
    ).json()
    return answer


@pytest.mark.parametrize("stored", [True, False])
def test_the_teacher_s_key_goes_to_the_training_process_alone(
    hub: HubUnderTest, stored: bool
) -> None:
    hub.publish()
    key = {"TEACHER_API_KEY": "tk-123"}
    if stored:
        hub.user.put("/v1/secrets/TEACHER_API_KEY", json={"value": "tk-123"})
    handed = {} if stored else {"secrets": key}
    assert taught(hub, "https://teacher.example/v1#large", **handed).status_code == 201
    assert secrets_of(hub) == {"secrets": {}, "job": key}


def test_a_teacher_elsewhere_needs_no_key(hub: HubUnderTest) -> None:
    hub.publish()
    taught(hub, "https://teacher.example/v1#large")
    assert secrets_of(hub) == {"secrets": {}, "job": {}}


def test_a_run_that_no_one_elsewhere_teaches_gets_no_teacher_s_key(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.put("/v1/secrets/TEACHER_API_KEY", json={"value": "tk-123"})
    taught(hub, MODEL)
    assert secrets_of(hub) == {"secrets": {}, "job": {}}


def test_no_environment_gets_the_teacher_s_key_by_declaring_it(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.put("/v1/secrets/TEACHER_API_KEY", json={"value": "tk-123"})
    greedy = {"environment": {**ENVIRONMENT, "secrets": ["TEACHER_API_KEY"]}}
    response = ask(hub, greedy)
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_secret")
    assert "training process alone" in error_of(response)["message"]


def test_what_owners_are_told_of_an_adapter_is_only_which_it_is(hub: HubUnderTest) -> None:
    hub.publish()
    first = hub.train()
    train = {"init_from_adapter": first, "teacher_model": first}
    spec = {"algorithm": "opd", "train": train}
    planned, run = ask(hub, spec, dry_run=True).json(), ask(hub, spec).json()
    pin = {"run_id", "step", "tree_digest", "algorithm", "environment"}
    for told in (planned, run, hub.run(run["id"])):
        for adapter in (told["warm_start"], told["teacher"]["adapter"]):
            assert adapter.keys() == pin | {"ancestors"}

    lease = hub.claim()
    hub.report(lease, "start", {"total_steps": 1})
    hub.save(lease, 1, b"second")
    hub.report(lease, "complete", {"step": 1})
    warm(hub, run["id"])
    (ancestor,) = hub.claim()["warm_start"]["ancestors"]
    assert ancestor.keys() == pin


def test_runs_that_build_on_the_same_adapters_do_not_wait_for_each_other(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    one, other = hub.train(content=b"one"), hub.train(content=b"other")
    locked: list[str] = []

    def note(session: Session, loaded: object) -> None:
        if isinstance(loaded, Blob):
            locked.append(loaded.digest)

    event.listen(hub.resources.sessions, "loaded_as_persistent", note)
    for begins, teaches in ((one, other), (other, one)):
        train = {"init_from_adapter": begins, "teacher_model": teaches}
        assert ask(hub, {"algorithm": "opd", "train": train}).status_code == 201
    assert locked == sorted(locked[:2]) * 2
