"""What `validate` said of a version: sent with the publish, kept as it came, shown to whoever may read."""

import json

import pytest
from httpx2 import Response

from freesolo.schemas.checks import CHECKS_HEADER, MAX_CHECKS_BYTES
from tests.component.hub.harness import Document, HubUnderTest, error_of
from tests.component.hub.test_uploads import begin, send_all

WARNED: Document = {
    "errors": 0,
    "warnings": 1,
    "infos": 2,
    "validator": "0.1.0",
    "findings": [
        {
            "code": "duplicate_rows",
            "severity": "warning",
            "message": "2 rows repeat an earlier one. <script>alert(1)</script>",
            "rows": [3, 5],
            "path": "dataset/train.jsonl",
            "line": 4,
        }
    ],
    "reward": {"rows": 8, "auc": 1.0, "low": 0.9, "high": 1.0},
    "lengths": [{"model": "acme/small", "exact": True, "rows": 8, "median": 20, "longest": 70}],
}
FORCED: Document = {"errors": 1, "warnings": 0, "infos": 0, "validator": "0.1.0", "forced": True}


def send(hub: HubUnderTest, report: object, version: str = "0.1.0") -> Response:
    """Publish `local/agree` with a report."""
    text = report if isinstance(report, str) else json.dumps(report)
    return hub.send(hub.pack(version=version), "agree", version, **{CHECKS_HEADER: text})


def checks_of(hub: HubUnderTest, version: str = "0.1.0") -> Document:
    """Return what is shown of a version's report."""
    answer: Document = hub.user.get(f"/v1/envs/local/agree/versions/{version}/checks").json()
    return answer


def test_a_report_is_kept_and_shown_as_it_was_sent(any_hub: HubUnderTest) -> None:
    assert send(any_hub, WARNED).status_code == 201

    shown = checks_of(any_hub)

    assert (shown["ref"], shown["version"]) == ("local/agree", "0.1.0")
    assert shown["report"] == {**WARNED, "forced": False}


def test_what_a_report_came_to_stands_beside_each_version(any_hub: HubUnderTest) -> None:
    send(any_hub, WARNED, "0.1.0")
    send(any_hub, FORCED, "0.2.0")
    any_hub.publish("agree", "0.3.0")

    versions = any_hub.user.get("/v1/envs/local/agree").json()["versions"]
    info = any_hub.user.get("/v1/envs/local/agree/info?spec=0.2.0").json()

    forced = {"errors": 1, "warnings": 0, "infos": 0, "forced": True}
    warned = {"errors": 0, "warnings": 1, "infos": 2, "forced": False}
    assert [each["checks"] for each in versions] == [None, forced, warned]
    assert info["checks"] == forced


def test_a_version_without_a_report_says_so(hub: HubUnderTest) -> None:
    hub.publish()

    assert checks_of(hub)["report"] is None


def test_a_report_comes_at_the_end_of_an_upload_too(hub: HubUnderTest) -> None:
    archive = hub.pack()
    upload = begin(hub, archive).json()
    send_all(hub, upload, archive)

    answer = hub.user.post(f"/v1/uploads/{upload['upload_id']}/finalize", json={"checks": WARNED})

    assert answer.status_code == 201, answer.text
    assert checks_of(hub)["report"] == {**WARNED, "forced": False}


def test_a_forced_publish_is_in_the_audit(hub: HubUnderTest) -> None:
    send(hub, FORCED)

    events = hub.user.get("/v1/audit", params={"action": "version.published"}).json()["events"]

    assert events[0]["data"]["forced"] is True


def test_the_report_of_a_version_never_changes(hub: HubUnderTest) -> None:
    send(hub, WARNED)

    again = send(hub, FORCED)

    assert again.json()["status"] == "unchanged"
    assert checks_of(hub)["report"]["forced"] is False


@pytest.mark.parametrize(
    "report",
    [
        "not JSON",
        "[]",
        {**WARNED, "errors": -1},
        {**WARNED, "errors": 1},
        {**WARNED, "findings": [{"code": "No Code", "severity": "error", "message": ""}]},
        {**WARNED, "findings": [{"code": "a", "severity": "fatal", "message": ""}]},
        {**WARNED, "findings": [{"code": "a", "severity": "info", "message": "x" * 501}]},
        {**WARNED, "findings": [{"code": "a", "severity": "info", "message": ""}] * 51},
        {**WARNED, "reward": {"rows": 1, "auc": 2, "low": 0, "high": 1}},
        {**WARNED, "lengths": [{"model": "m", "exact": True, "rows": -1}]},
        {**WARNED, "validator": "x" * MAX_CHECKS_BYTES},
    ],
)
def test_a_report_of_another_shape_is_refused_before_anything_is_kept(
    hub: HubUnderTest, report: object
) -> None:
    answer = send(hub, report)

    assert answer.status_code == 422
    assert error_of(answer)["code"] == "invalid_input"
    assert hub.user.get("/v1/envs/local/agree").status_code == 404
