"""Base models that orgs add: who may, who sees them, and what needs them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from freesolo.domain.catalog import SMOLLM2_135M
from freesolo.domain.roles import Role
from freesolo.schemas.usage import BillingMode
from hub_server.models import EnvironmentVersion
from hub_server.settings import HubSettings
from tests.component.hub.base_models import ADDED, COMMIT, added_entry
from tests.component.hub.harness import MODEL, Document, HubUnderTest, SettableClock, error_of
from tests.component.hub.people import make_key_of_org

FOLDER = {"source": {"kind": "path", "path": "/models/small"}}


def add(hub: HubUnderTest, **changes: object) -> Document:
    """Add a model for the org `local` and return it."""
    answer = hub.user.post("/v1/models", json=added_entry(**changes))
    assert answer.status_code == 201, answer.text
    document: Document = answer.json()
    return document


def listed(client: Any) -> list[str]:  # noqa: ANN401 - a client of the hub
    """Return the ids of the models that an org has added."""
    models = client.get("/v1/models").json()["models"]
    return [model["id"] for model in models if model["added"]]


def submit(hub: HubUnderTest, model: str = ADDED) -> str:
    """Queue a run on a model."""
    spec = {"model": model, "environment": {"id": "local/agree"}}
    answer = hub.user.post("/v1/runs", json={"spec": spec})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def finish(hub: HubUnderTest, run_id: str) -> None:
    """Take a queued run to its end."""
    lease = hub.claim()
    assert lease["run_id"] == run_id
    hub.report(lease, "start", {"total_steps": 1})
    hub.save(lease, 1)
    assert hub.report(lease, "complete", {"step": 1}).status_code == 204


def test_an_added_model_is_trained_and_served_as_it_was_found(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    added = add(any_hub)
    assert (added["id"], added["revision"], added["added"]) == (ADDED, COMMIT, True)
    run_id = submit(any_hub)

    lease = any_hub.claim()
    assert lease["model"]["source"] == {"kind": "hub", "repo": "acme/small"}
    assert lease["model"]["template"]["warnings"] == ["It rewrites history."]
    any_hub.report(lease, "start", {"total_steps": 1})
    any_hub.save(lease, 1)
    any_hub.report(lease, "complete", {"step": 1})

    any_hub.deploy(run_id)
    task = any_hub.claim_deployment()
    assert task["base_model"] == lease["model"]
    any_hub.advance(task, "smoking", "ready")
    assert any_hub.resolve(run_id).json()["base_model"] == lease["model"]
    assert any_hub.resolve(ADDED).json()["base_model"] == lease["model"]
    assert any_hub.run(run_id)["model_revision"] == COMMIT


def test_an_added_model_belongs_to_its_org_alone(hub: HubUnderTest) -> None:
    add(hub)
    key = hub.make_member("acme")
    other = hub.client(key)
    assert (listed(hub.user), listed(other)) == ([ADDED], [])
    assert hub.resolve(ADDED, key).status_code == 404
    assert other.delete(f"/v1/models/{ADDED}").status_code == 404

    # What it is called says nothing to others.
    theirs = added_entry(revision="f" * 40)
    assert other.post("/v1/models", json=theirs).status_code == 201
    assert hub.resolve(ADDED, key).json()["base_model"]["revision"] == "f" * 40
    assert hub.resolve(ADDED).json()["base_model"]["revision"] == COMMIT


def test_runs_of_orgs_with_one_name_for_two_models_each_get_theirs(hub: HubUnderTest) -> None:
    hub.publish()
    add(hub)
    other = hub.client(hub.make_member("acme"))
    assert other.post("/v1/models", json=added_entry(revision="f" * 40)).status_code == 201
    submit(hub)
    assert hub.claim()["model"]["revision"] == COMMIT


def test_every_replica_has_an_added_model_at_once(
    hub: HubUnderTest, hub_settings: HubSettings
) -> None:
    replica = HubUnderTest(hub_settings, SettableClock(), hub.keys)
    with replica:
        add(hub)
        assert listed(replica.user) == [ADDED]
        assert replica.resolve(ADDED).status_code == 200
        hub.user.delete(f"/v1/models/{ADDED}")
        assert listed(replica.user) == []


@pytest.mark.parametrize(("role", "status"), [(Role.MEMBER, 403), (Role.ADMIN, 201)])
def test_admins_add_models(hub: HubUnderTest, role: Role, status: int) -> None:
    client = make_key_of_org(hub, "local", role)
    assert client.post("/v1/models", json=added_entry()).status_code == status
    assert client.delete(f"/v1/models/{ADDED}").is_success == (status == 201)


def test_who_pays_beforehand_does_not_name_the_price(hub_settings: HubSettings) -> None:
    prepaid = hub_settings.model_copy(update={"billing": BillingMode.PREPAID})
    with HubUnderTest(hub_settings, SettableClock()) as metering:
        add(metering)
        assert metering.resolve(ADDED).json()["prices"]["prompt"] == 5

    with HubUnderTest(prepaid, SettableClock(), metering.keys) as hub:
        costly = {"prompt": 600_000, "cached": 600_000, "completion": 1_800_000}
        assert hub.resolve(ADDED).json()["prices"] == costly
        shown = {model["id"]: model for model in hub.user.get("/v1/models").json()["models"]}
        assert (shown[ADDED]["price_input"], shown[ADDED]["price_output"]) == (600_000, 1_800_000)
        assert shown[MODEL]["price_input"] == SMOLLM2_135M.price_input

        refused = hub.user.post("/v1/models", json=added_entry("acme/cheap", price_input=1))
        assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden")
        add(hub, model_id="acme/unpriced", price_input=0)
        assert hub.resolve("acme/unpriced").json()["prices"] == costly


def test_a_folder_is_added_only_where_the_operator_allows_it(hub_settings: HubSettings) -> None:
    allowing = hub_settings.model_copy(update={"model_paths": True})
    for settings, status in ((hub_settings, 403), (allowing, 201)):
        with HubUnderTest(settings, SettableClock()) as hub:
            answer = hub.user.post("/v1/models", json=added_entry(**FOLDER))
            assert answer.status_code == status
            if status == 403:
                assert "FREESOLO_SERVER_MODEL_PATHS" in error_of(answer)["hint"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_id": "small"}, "two parts"),
        ({"revision": "main"}, "commit"),
        ({"source": {"kind": "packaged-gguf", "package": "os", "file": "x"}}, "adds models"),
        ({"source": {"kind": "hub", "repo": "../etc"}}, "source"),
        ({"max_rank": 100_000}, "max_rank"),
        ({"price_train": -1}, "price_train"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(
    hub: HubUnderTest, changes: dict[str, Any], words: str
) -> None:
    answer = hub.user.post("/v1/models", json=added_entry(**changes))
    assert answer.status_code == 422
    assert words in answer.text


def test_a_relative_path_is_refused(hub_settings: HubSettings) -> None:
    allowing = hub_settings.model_copy(update={"model_paths": True})
    with HubUnderTest(allowing, SettableClock()) as hub:
        relative = added_entry(source={"kind": "path", "path": "models/small"})
        assert "absolute" in error_of(hub.user.post("/v1/models", json=relative))["message"]


def test_an_id_means_one_revision_until_it_is_removed(hub: HubUnderTest) -> None:
    add(hub)
    assert add(hub)["id"] == ADDED
    other = hub.user.post("/v1/models", json=added_entry(revision="f" * 40))
    assert other.status_code == 409
    assert COMMIT in error_of(other)["message"]
    assert hub.user.delete(f"/v1/models/{ADDED}").status_code == 204
    assert add(hub, revision="f" * 40)["revision"] == "f" * 40


def test_what_every_org_has_is_neither_hidden_nor_removed(hub: HubUnderTest) -> None:
    hidden = hub.user.post("/v1/models", json=added_entry(SMOLLM2_135M.id))
    assert hidden.status_code == 409
    assert "--id" in error_of(hidden)["hint"]
    assert hub.user.delete(f"/v1/models/{SMOLLM2_135M.id}").status_code == 403


def test_a_model_that_the_operator_offers_later_goes_before_an_added_one(
    hub: HubUnderTest, hub_settings: HubSettings
) -> None:
    hub.publish()
    add(hub)
    submit(hub)
    catalog = hub.path / "catalog.toml"
    catalog.write_text(
        f'[[model]]\nid = "{ADDED}"\nrevision = "theirs"\nparameters = 1\ncontext = 9\n'
        'max_rank = 1\nsource = { kind = "path", path = "/models/theirs" }\n'
    )
    offering = hub_settings.model_copy(update={"catalog": catalog})
    with HubUnderTest(offering, hub.clock, hub.keys) as later:
        assert later.resolve(ADDED).json()["base_model"]["revision"] == "theirs"
        # A run on the weights that are hidden now is not given others.
        assert later.claim() == {}
    assert hub.claim()["model"]["revision"] == COMMIT


def test_a_model_that_something_needs_is_not_removed(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    add(any_hub)
    run_id = submit(any_hub)
    refused = any_hub.user.delete(f"/v1/models/{ADDED}")
    assert error_of(refused)["code"] == "model_in_use_conflict"
    assert "1 runs" in error_of(refused)["message"]

    finish(any_hub, run_id)
    any_hub.make_live(run_id)
    refused = any_hub.user.delete(f"/v1/models/{ADDED}")
    assert "1 adapters" in error_of(refused)["message"]

    any_hub.user.delete(f"/v1/deployments/{run_id}")
    assert any_hub.user.delete(f"/v1/models/{ADDED}").status_code == 204
    refused = any_hub.user.post("/v1/deployments", json={"adapter": run_id})
    assert error_of(refused)["code"] == "model_not_found"


def test_a_model_teaches_as_it_was_added_and_is_not_removed_meanwhile(
    any_hub: HubUnderTest,
) -> None:
    any_hub.publish()
    add(any_hub)
    spec = {
        "model": MODEL,
        "algorithm": "opd",
        "environment": {"id": "local/agree"},
        "train": {"teacher_model": ADDED},
    }
    submitted = any_hub.user.post("/v1/runs", json={"spec": spec})
    assert submitted.status_code == 201, submitted.text
    refused = any_hub.user.delete(f"/v1/models/{ADDED}")
    assert error_of(refused)["code"] == "model_in_use_conflict"
    teacher = any_hub.claim()["teacher"]
    assert (teacher["model"]["id"], teacher["model"]["revision"]) == (ADDED, COMMIT)


def test_an_org_has_only_so_many_models(hub: HubUnderTest) -> None:
    for number in range(100):
        add(hub, model_id=f"acme/small-{number}")
    answer = hub.user.post("/v1/models", json=added_entry())
    assert (answer.status_code, "100" in error_of(answer)["message"]) == (429, True)


def test_an_unknown_model_is_not_found(hub: HubUnderTest) -> None:
    assert hub.user.delete("/v1/models/acme/none").status_code == 404
    spec = {"model": "acme/none", "environment": {"id": "local/agree"}}
    refused = hub.user.post("/v1/runs", json={"spec": spec, "dry_run": True})
    assert "freesolo models add acme/none" in error_of(refused)["hint"]


def test_of_many_that_add_one_id_at_once_those_with_the_first_revision_succeed(
    any_hub: HubUnderTest,
) -> None:
    def post(number: int) -> tuple[int, str]:
        revision = f"{number % 2}" * 40
        answer = any_hub.user.post("/v1/models", json=added_entry(revision=revision))
        return answer.status_code, revision

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(post, range(8)))
    (first,) = (revision for status, revision in answers if status == 201)
    other = ({"0" * 40, "1" * 40} - {first}).pop()
    assert answers == {(201, first), (409, other)}
    added = any_hub.user.get("/v1/audit", params={"action": "model.added"}).json()["events"]
    assert len(added) == 1


@pytest.mark.parametrize("spec", [{"model": ADDED}, {"algorithm": "opd", "teacher": ADDED}])
def test_no_run_is_queued_on_a_model_that_is_removed_meanwhile(
    hub_settings: HubSettings, postgres_url: str, spec: Document
) -> None:
    settings = hub_settings.model_copy(update={"database_url": postgres_url})
    with HubUnderTest(settings, SettableClock()) as hub:
        hub.publish()
        add(hub)
        removed: list[int] = []

        def remove_once(session: Session, loaded: object) -> None:
            # By now the model was found, and the run is not there yet.
            if isinstance(loaded, EnvironmentVersion) and not removed:
                removed.append(0)
                removed[0] = hub.user.delete(f"/v1/models/{ADDED}").status_code

        event.listen(hub.resources.sessions, "loaded_as_persistent", remove_once)
        body = {"model": MODEL, "environment": {"id": "local/agree"}, **spec}
        if teacher := body.pop("teacher", None):
            body["train"] = {"teacher_model": teacher}
        answer = hub.user.post("/v1/runs", json={"spec": body})
        assert removed == [204]
        assert error_of(answer)["code"] == "model_not_found"
        assert hub.user.get("/v1/runs").json()["runs"] == []


def test_an_added_model_that_cannot_be_read_holds_up_no_other(any_hub: HubUnderTest) -> None:
    any_hub.publish()
    add(any_hub)
    run_id = any_hub.train()
    add(any_hub, model_id="acme/bad")
    with any_hub.resources.sessions.begin() as session:
        session.execute(text("UPDATE added_models SET entry = '[]' WHERE model_id = 'acme/bad'"))
    assert any_hub.resolve(ADDED).json()["base_model"]["id"] == ADDED
    assert any_hub.resolve(MODEL).json()["base_model"]["id"] == MODEL
    with any_hub.resources.sessions.begin() as session:
        session.execute(text("DELETE FROM added_models WHERE model_id = 'acme/bad'"))
    any_hub.deploy(run_id)
    task = any_hub.claim_deployment()
    assert task["base_model"]["id"] == MODEL
