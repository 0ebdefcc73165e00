"""What models got in suites: kept whole, counted by the hub, shown to those who may read both."""

import pytest
from sqlalchemy import func, select, update

from freesolo.domain.roles import Role
from hub_server.accounts.service import KeyPlan
from hub_server.evaluations.service import MAX_BYTES
from hub_server.models import Evaluation, EvaluationCase
from tests.component.hub.evaluations import case, evaluation, store
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.component.hub.people import FULL, make_key_of_org
from tests.factories import content_digest


def count(hub: HubUnderTest) -> tuple[int, int]:
    """Return how many evaluations and cases there are."""
    with hub.resources.readers() as session:
        return (
            session.execute(select(func.count(Evaluation.id))).scalar_one(),
            session.execute(select(func.count()).select_from(EvaluationCase)).scalar_one(),
        )


def listed(hub: HubUnderTest, **params: str) -> list[str]:
    """Return the targets of the evaluations in a listing."""
    page = hub.user.get("/v1/evals", params=params).json()
    return [item["target"] for item in page["evaluations"]]


def test_what_a_model_got_is_counted_by_the_hub(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    stored = store(
        any_hub,
        *(case(index) for index in range(8)),
        *(case(8, "failed"), case(9, "unscorable"), case(10, "unanswered", answer=None)),
    )

    shown = any_hub.user.get(f"/v1/evals/{stored['id']}").json()
    assert shown == stored
    assert (shown["ref"], shown["version"]) == ("local/agree", "0.1.0")
    (suite,) = shown["suites"]
    assert [suite[key] for key in ("total", "passed", "unscorable", "unanswered")] == [11, 8, 1, 1]
    assert suite["pass_rate"] == pytest.approx(8 / 9)
    # Wilson's interval of 8 in 9: what was not scored says nothing of the model.
    assert suite["interval"] == pytest.approx([0.5650, 0.9801], abs=1e-4)


def test_cases_come_back_page_by_page_as_they_were_sent(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    sent = [case(index, prompt=f"Question \x00 <b>{index}</b>") for index in range(1100)]
    path = f"/v1/evals/{store(any_hub, *sent)['id']}/cases"

    first = any_hub.user.get(path).json()
    rest = any_hub.user.get(path, params={"cursor": first["next_cursor"]}).json()

    assert (len(first["cases"]), rest["next_cursor"]) == (1000, None)
    returned = [*first["cases"], *rest["cases"]]
    assert [item.pop("suite") for item in returned] == ["heldout"] * 1100
    assert [{**item, "error": None} for item in sent] == returned


def test_a_listing_is_narrowed_and_the_newest_come_first(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    for target in ("one", "two", "one"):
        store(any_hub, target=target)
        any_hub.clock.advance(1)
    any_hub.publish("other")

    assert listed(any_hub) == ["one", "two", "one"]
    assert listed(any_hub, environment="local/agree", target="two") == ["two"]
    assert listed(any_hub, environment="local/other") == []
    page = any_hub.user.get("/v1/evals", params={"limit": 2}).json()
    assert listed(any_hub, limit="2", cursor=page["next_cursor"]) == ["one"]


def test_a_repeated_request_stores_once(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    body = evaluation(any_hub)
    first, again = (
        any_hub.user.post("/v1/evals", json=body, headers={"Idempotency-Key": "once"}).json()
        for _ in range(2)
    )
    assert first == again
    assert count(any_hub) == (1, 1)


def test_nothing_is_left_of_one_that_was_removed(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    path = f"/v1/evals/{store(any_hub)['id']}"
    assert any_hub.user.delete(path).status_code == 204
    assert error_of(any_hub.user.get(path))["code"] == "evaluation_not_found"
    assert count(any_hub) == (0, 0)


def test_results_belong_to_the_org_that_asked(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.put("/v1/envs/local/agree/visibility", json={"visibility": "public"})
    path = f"/v1/evals/{store(hub)['id']}"
    other = hub.client(hub.make_member("acme"))

    own = other.post("/v1/evals", json=evaluation(hub))
    assert own.status_code == 201
    assert [item["id"] for item in other.get("/v1/evals").json()["evaluations"]] == [
        own.json()["id"]
    ]
    for answer in (other.get(path), other.get(f"{path}/cases"), other.delete(path)):
        assert error_of(answer)["code"] == "evaluation_not_found"


def test_results_go_out_of_sight_with_their_environment(hub: HubUnderTest) -> None:
    hub.publish()
    agree = "/v1/envs/local/agree"
    hub.user.put(f"{agree}/visibility", json={"visibility": "public"})
    acme = hub.client(hub.make_member("acme"))
    stored = acme.post("/v1/evals", json=evaluation(hub)).json()

    hub.user.put(f"{agree}/visibility", json={"visibility": "private"})
    assert acme.get(f"/v1/evals/{stored['id']}").status_code == 404
    assert acme.get("/v1/evals").json()["evaluations"] == []
    narrowed = acme.get("/v1/evals", params={"environment": "local/agree"})
    assert error_of(narrowed)["code"] == "environment_not_found"


def test_a_confined_key_has_to_do_with_results_of_its_environments_only(hub: HubUnderTest) -> None:
    hub.publish()
    hub.user.put("/v1/envs/local/agree/visibility", json={"visibility": "public"})
    stored = store(hub)
    plan = KeyPlan("confined", FULL.scopes, patterns=("local/other",))
    confined = make_key_of_org(hub, "local", Role.MEMBER, plan)
    assert confined.get("/v1/evals").json()["evaluations"] == []
    assert confined.get(f"/v1/evals/{stored['id']}").status_code == 404
    assert confined.post("/v1/evals", json=evaluation(hub)).status_code == 403


def test_readers_see_results_and_change_none(hub: HubUnderTest) -> None:
    hub.publish()
    path = f"/v1/evals/{store(hub)['id']}"
    reader = make_key_of_org(hub, "local", Role.READER, FULL)
    assert reader.get(path).status_code == 200
    assert reader.delete(path).status_code == 403
    assert reader.post("/v1/evals", json=evaluation(hub)).status_code == 403


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tree_digest": f"sha256:{'0' * 64}"}, "invalid_input"),
        ({"environment": "local/agree@9.9"}, "version_not_found"),
        ({"environment": "local/nothing@0.1.0"}, "environment_not_found"),
        ({"revision": f"run-0123456789@final.{'0' * 40}"}, "run_not_found"),
        ({"endpoint": "https://user:password@example.com/v1"}, "invalid_input"),
        ({"endpoint": "https://example.com/v1?key=secret"}, "invalid_input"),
        ({"endpoint": "file:///etc"}, "invalid_input"),
        ({"endpoint": "http://[::1"}, "invalid_input"),
        ({"suites": []}, "invalid_input"),
        ({"suites": [{"name": "a", "cases": []}] * 2}, "invalid_input"),
        ({"suites": [{"name": "a", "cases": [case(0), case(0)]}]}, "invalid_input"),
        ({"suites": [{"name": "a", "cases": [case(0, score=None)]}]}, "invalid_input"),
        ({"suites": [{"name": "a", "cases": [case(0, "unscorable", score=0)]}]}, "invalid_input"),
        ({"suites": [{"name": "a", "cases": [case(0, prompt="x" * 8001)]}]}, "invalid_input"),
        ({"settings": {"temperature": 3, "max_tokens": 1}}, "invalid_input"),
    ],
)
def test_what_cannot_be_so_is_not_kept(hub: HubUnderTest, changes: Document, code: str) -> None:
    hub.publish()
    answer = hub.user.post("/v1/evals", json=evaluation(hub, **changes))
    assert error_of(answer)["code"] == code
    assert count(hub) == (0, 0)


def test_the_adapter_that_answered_must_be_one_of_the_orgs(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.train()
    revision = hub.deploy(run_id)["revision"]
    kept = store(hub, target=run_id, revision=revision)
    assert kept["revision"] == revision

    forged = f"{run_id}@final.{'0' * 40}"
    refused = hub.user.post("/v1/evals", json=evaluation(hub, target=run_id, revision=forged))
    assert error_of(refused)["code"] == "adapter_not_found"


def test_staged_versions_have_no_results(hub: HubUnderTest) -> None:
    archive = hub.pack()
    staged = hub.user.put(
        "/v1/envs/local/agree/versions/0.1.0",
        params={"stage": True},
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )
    assert staged.is_success
    refused = hub.user.post("/v1/evals", json=evaluation(hub))
    assert "is staged" in error_of(refused)["message"]


def test_an_org_keeps_no_more_than_its_share(hub: HubUnderTest) -> None:
    hub.publish()
    first = store(hub)
    with hub.resources.sessions.begin() as session:
        session.execute(update(Evaluation).values(size=MAX_BYTES))
    refused = hub.user.post("/v1/evals", json=evaluation(hub))
    assert error_of(refused)["code"] == "quota_exceeded"

    hub.user.delete(f"/v1/evals/{first['id']}")
    store(hub)


@pytest.mark.parametrize("cursor", ["", "x", "WyJhIl0=", "WyJhIiwgImIiXQ=="])
def test_a_cursor_of_ones_own_is_refused(hub: HubUnderTest, cursor: str) -> None:
    hub.publish()
    path = f"/v1/evals/{store(hub)['id']}/cases"
    for listing in ("/v1/evals", path):
        assert hub.user.get(listing, params={"cursor": cursor}).status_code == 422
