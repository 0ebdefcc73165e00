"""Adapters for whoever takes them elsewhere: what they are, and their bytes."""

from dataclasses import replace
from hashlib import sha256

import pytest

from tests.component.hub.harness import MODEL, HubUnderTest, error_of


def test_an_adapter_is_shown_under_each_of_its_names_with_its_bytes(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.train()

    final = any_hub.user.get(f"/v1/adapters/{run_id}").json()
    early = any_hub.user.get(f"/v1/adapters/{run_id}/step-1").json()

    assert (final["run_id"], final["step"], final["rank"]) == (run_id, 2, 32)
    assert final["revision"].startswith(f"{run_id}@final.")
    assert (early["step"], early["revision"]) == (
        1,
        any_hub.user.get(f"/v1/runs/{run_id}/checkpoints").json()["checkpoints"][0]["revision"],
    )
    assert final["base_model"]["id"] == final["model"] == MODEL
    for name, saved in ((run_id, final), (f"{run_id}/step-1", early), (final["revision"], final)):
        archive = any_hub.user.get(f"/v1/adapters/{name}/archive")
        assert f"sha256:{sha256(archive.content).hexdigest()}" == saved["archive_digest"]


def test_a_base_model_of_another_revision_is_not_given_as_its_own(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.train()
    catalog = {MODEL: hub.resources.catalog[MODEL].model_copy(update={"revision": "newer"})}
    hub.app.state.resources = replace(hub.resources, catalog=catalog)
    shown = hub.user.get(f"/v1/adapters/{run_id}").json()
    assert (shown["base_model"], shown["model"]) == (None, MODEL)
    assert shown["model_revision"] != "newer"


@pytest.mark.parametrize("path", ["", "/archive"])
def test_another_org_is_answered_as_if_there_were_no_such_run(hub: HubUnderTest, path: str) -> None:
    hub.publish()
    run_id = hub.train()
    stranger = hub.client(hub.make_member("initech"))
    theirs = stranger.get(f"/v1/adapters/{run_id}{path}")
    never_was = stranger.get(f"/v1/adapters/run-0000000000{path}")
    assert theirs.status_code == never_was.status_code == 404
    assert error_of(theirs)["code"] == error_of(never_was)["code"] == "run_not_found"


@pytest.mark.parametrize(
    ("ref", "status", "code"),
    [
        ("nonsense", 422, "invalid_ref"),
        ("{run}/step-9", 404, "adapter_not_found"),
        ("{run}@final." + "0" * 40, 404, "adapter_not_found"),
        ("{run}/archive/archive", 422, "invalid_ref"),
    ],
)
def test_what_names_no_adapter_is_refused(
    hub: HubUnderTest, ref: str, status: int, code: str
) -> None:
    hub.publish()
    answer = hub.user.get(f"/v1/adapters/{ref.format(run=hub.train())}")
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
