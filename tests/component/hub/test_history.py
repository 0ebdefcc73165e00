"""How a run learned: its metrics step by step, and its samples."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from hub_server.models import RunEvent
from hub_server.paging import encode_cursor
from tests.component.hub.harness import Document, HubUnderTest, error_of

Event = dict[str, Any]


def metrics(step: int, **values: float) -> Event:
    return {"kind": "metrics", "step": step, "data": values}


def sample(step: int, rollout: int = 0, **changes: object) -> Event:
    data = {
        "example": 3,
        "rollout": rollout,
        "messages": [{"role": "user", "content": "6 * 7?"}],
        "completion": [{"role": "assistant", "content": "42"}],
        "reward": 1.0,
        "advantage": 0.5,
        "finish": "stop",
        "tokens": 2,
    }
    return {"kind": "sample", "step": step, "data": data | changes}


def tell(hub: HubUnderTest, lease: Document, *events: Event, first: int = 0) -> None:
    response = hub.report(lease, "events", {"first": first, "events": events})
    assert response.status_code == 204, response.text


def read(hub: HubUnderTest, run_id: str, what: str, **params: str | int | None) -> Document:
    given = {name: value for name, value in params.items() if value is not None}
    response = hub.user.get(f"/v1/runs/{run_id}/{what}", params=given)
    assert response.status_code == 200, response.text
    document: Document = response.json()
    return document


@pytest.fixture
def lease(any_hub: HubUnderTest) -> Document:
    any_hub.publish()
    any_hub.submit()
    return any_hub.claim()


def test_metrics_are_one_object_for_each_step(any_hub: HubUnderTest, lease: Document) -> None:
    tell(any_hub, lease, metrics(1, loss=2.0, **{"time/step": 0.5}), metrics(2, loss=1.5))
    assert read(any_hub, lease["run_id"], "metrics") == {
        "next_cursor": None,
        "steps": [{"step": 1, "loss": 2.0, "time/step": 0.5}, {"step": 2, "loss": 1.5}],
    }


def test_what_a_step_reports_in_parts_is_put_together(
    any_hub: HubUnderTest, lease: Document
) -> None:
    tell(any_hub, lease, metrics(1, reward=0.5), metrics(1, loss=1.0))
    steps = read(any_hub, lease["run_id"], "metrics")["steps"]
    assert steps == [{"step": 1, "reward": 0.5, "loss": 1.0}]


def test_a_step_that_a_newer_attempt_repeats_is_as_it_went_then(
    any_hub: HubUnderTest, lease: Document
) -> None:
    tell(any_hub, lease, *(metrics(step, loss=9.0, old=1.0) for step in (1, 2, 3)))
    tell(any_hub, lease, sample(2, rollout=0), sample(2, rollout=1), first=3)
    any_hub.report(lease, "release")
    again = any_hub.claim()
    tell(any_hub, again, metrics(2, loss=1.0), sample(2, rollout=7))

    steps = read(any_hub, lease["run_id"], "metrics")["steps"]
    assert [(each["step"], each["loss"]) for each in steps] == [(1, 9.0), (2, 1.0), (3, 9.0)]
    assert "old" not in steps[1]
    samples = read(any_hub, lease["run_id"], "samples", step=2)["samples"]
    assert [(each["attempt"], each["rollout"]) for each in samples] == [(2, 7)]


def test_the_metrics_of_a_long_run_come_page_by_page(
    any_hub: HubUnderTest, lease: Document
) -> None:
    tell(any_hub, lease, *(metrics(step, loss=float(step)) for step in range(1, 6)))
    seen, cursor = [], None
    while True:
        page = read(any_hub, lease["run_id"], "metrics", limit=2, cursor=cursor)
        seen.append([each["step"] for each in page["steps"]])
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [[1, 2], [3, 4], [5]]


def test_samples_are_listed_newest_first_and_by_step(
    any_hub: HubUnderTest, lease: Document
) -> None:
    tell(any_hub, lease, *(sample(step, rollout) for step in (1, 2) for rollout in (0, 1)))
    first = read(any_hub, lease["run_id"], "samples", limit=3)
    rest = read(any_hub, lease["run_id"], "samples", cursor=first["next_cursor"])
    listed = first["samples"] + rest["samples"]
    assert [(each["step"], each["rollout"]) for each in listed] == [(2, 1), (2, 0), (1, 1), (1, 0)]
    of_one = read(any_hub, lease["run_id"], "samples", step=1)["samples"]
    assert [each["rollout"] for each in of_one] == [1, 0]
    assert of_one[0]["completion"] == [{"role": "assistant", "content": "42"}]
    assert (of_one[0]["reward"], of_one[0]["advantage"], of_one[0]["error"]) == (1.0, 0.5, None)


def test_samples_do_not_stand_in_the_way_of_whoever_follows(
    any_hub: HubUnderTest, lease: Document
) -> None:
    tell(any_hub, lease, sample(1), metrics(1, loss=1.0))
    events = read(any_hub, lease["run_id"], "events")["events"]
    assert [event["kind"] for event in events] == ["state", "state", "metrics"]


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "sample", "step": 1, "data": {"reward": 1.0}},
        {**sample(1), "step": None},
        sample(1, metrics={"length": "long"}),
        sample(1, messages="hello"),
    ],
)
def test_a_sample_that_is_none_is_refused(hub: HubUnderTest, event: Event) -> None:
    hub.publish()
    hub.submit()
    response = hub.report(hub.claim(), "events", {"first": 0, "events": [event]})
    assert response.status_code == 422


def test_a_sample_s_metric_that_is_not_finite_is_left_out(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    run_id = any_hub.submit()
    told = sample(1, metrics={"exact": 1.0, "ratio": float("nan")}, extra=[{"at": float("inf")}])
    response = any_hub.worker.post(
        f"/v1/leases/{run_id}/events",
        content=json.dumps({"first": 0, "events": [told]}),
        headers={"Freesolo-Lease": any_hub.claim()["token"], "Content-Type": "application/json"},
    )
    assert response.status_code == 204
    (kept,) = read(any_hub, run_id, "samples")["samples"]
    assert kept["metrics"] == {"exact": 1.0}
    with any_hub.resources.readers() as session:
        (data,) = session.scalars(
            select(RunEvent.data).where(RunEvent.run_id == run_id, RunEvent.kind == "sample")
        )
    assert (data["metrics"], data["extra"]) == ({"exact": 1.0, "ratio": None}, [{"at": None}])


def test_a_run_that_has_told_nothing_has_no_steps_and_no_samples(hub: HubUnderTest) -> None:
    hub.publish()
    run_id = hub.submit()
    assert read(hub, run_id, "metrics") == {"steps": [], "next_cursor": None}
    assert read(hub, run_id, "samples") == {"samples": [], "next_cursor": None}


@pytest.mark.parametrize("what", ["metrics", "samples"])
def test_how_a_run_of_another_org_learned_is_not_told(hub: HubUnderTest, what: str) -> None:
    hub.publish()
    run_id = hub.submit()
    response = hub.client(hub.make_member("acme")).get(f"/v1/runs/{run_id}/{what}")
    assert (response.status_code, error_of(response)["code"]) == (404, "run_not_found")


@pytest.mark.parametrize("what", ["metrics", "samples"])
@pytest.mark.parametrize("text", ["one", "-1", "٣", "99999999999", "4294967296"])
def test_a_cursor_that_names_no_place_is_refused(hub: HubUnderTest, what: str, text: str) -> None:
    hub.publish()
    response = hub.user.get(
        f"/v1/runs/{hub.submit()}/{what}", params={"cursor": encode_cursor(text)}
    )
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_input")
