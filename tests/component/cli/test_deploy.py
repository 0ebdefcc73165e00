"""deploy, deployments, rollback, undeploy, and asking what they serve, with a gateway behind."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from serving_backend.app import create_app
from serving_backend.settings import ServingSettings
from tests.component.cli.conftest import Freesolo
from tests.component.gateway.conftest import Platform, eventually
from tests.fake_engine import FakeEngine, FakeProcess
from tests.hubs import LiveHub, resources_of, serving


@pytest.fixture
def platform(with_hub: LiveHub, tmp_path: Path) -> Iterator[Platform]:
    """The hub that the command line talks to, and its gateway before a stand-in for vLLM."""
    process = FakeProcess(FakeEngine(), usage=tmp_path / "gateway" / "usage")
    settings = ServingSettings(
        hub_url=with_hub.url,
        api_key=with_hub.gateway_key,
        data_dir=tmp_path / "gateway",
        cache_dir=tmp_path / "cache",
        engine_wait_seconds=10,
    )
    app = create_app(settings, process=lambda _entry, _settings: process)
    with serving(app) as url, ExitStack() as clients:
        # The hub, which was there first, tells clients where its gateway is.
        resources = resources_of(with_hub.app)
        told = resources.settings.model_copy(update={"gateway_url": url})
        with_hub.app.state.resources = replace(resources, settings=told)
        yield Platform(with_hub, tmp_path, settings, url, process, clients)


@pytest.fixture
def run_id(platform: Platform) -> str:
    """A finished run with two adapters."""
    return platform.two_adapters()


def test_a_deploy_that_is_waited_for_ends_with_what_to_type_next(
    freesolo: Freesolo, run_id: str
) -> None:
    deployed = freesolo("deploy", run_id, "--wait")
    assert deployed.code == 0
    assert "ready" in deployed.out
    assert f'freesolo chat {run_id} -m "..."' in deployed.err
    assert "heard hello" in freesolo("chat", run_id, "-m", "hello").out


def test_older_revisions_are_listed_and_asked_by_their_names(
    freesolo: Freesolo, platform: Platform, run_id: str
) -> None:
    older = freesolo("deploy", f"{run_id}/step-1", "--wait", "--json").document
    newer = freesolo("deploy", run_id, "--wait", "--json").document
    listed = freesolo("deployments", "--json").document["deployments"]
    assert [(each["revision"], each["active"]) for each in listed] == [
        (newer["revision"], True),
        (older["revision"], False),
    ]
    said = freesolo("chat", older["revision"], "-m", "hello", "--json").document
    content = older["revision"].rpartition(".")[2]
    assert said["content"].startswith(f"adapter-{content} ")
    assert platform.engine.requests[-1]["model"] == f"adapter-{content}"


def test_what_is_staged_moves_the_alias_by_a_later_deploy(freesolo: Freesolo, run_id: str) -> None:
    staged = freesolo("deploy", run_id, "--stage", "--wait")
    assert f"Next: freesolo deploy {run_id}@final." in " ".join(staged.err.split())
    assert freesolo("chat", run_id, "-m", "hello", "--json").code == 3
    document = freesolo("deploy", run_id, "--wait", "--json").document
    assert (document["active"], document["staged"]) == (True, False)


def test_a_rollback_returns_to_what_was_served_before(freesolo: Freesolo, run_id: str) -> None:
    older = freesolo("deploy", f"{run_id}/step-1", "--wait", "--json").document
    refused = freesolo("rollback", run_id, "--json")
    assert (refused.code, refused.error["code"]) == (4, "conflict")
    assert older["revision"] in refused.error["hint"]
    freesolo("deploy", run_id, "--wait")
    back = freesolo("rollback", run_id, "--wait", "--json").document
    assert (back["revision"], back["active"]) == (older["revision"], True)
    assert freesolo("rollback", "run-0123456789", "--json").code == 3
    assert freesolo("rollback", f"{run_id}/step-1", "--json").error["code"] == "invalid_input"


def test_a_revision_is_withdrawn_unless_the_alias_points_to_it(
    freesolo: Freesolo, run_id: str
) -> None:
    older = freesolo("deploy", f"{run_id}/step-1", "--wait", "--json").document["revision"]
    newer = freesolo("deploy", run_id, "--wait", "--json").document["revision"]
    refused = freesolo("undeploy", newer, "--json")
    assert (refused.code, refused.error["code"]) == (4, "conflict")
    withdrawn = freesolo("undeploy", older)
    assert withdrawn.code == 0
    assert f"freesolo deploy {older} --stage" in " ".join(withdrawn.err.split())
    ended = freesolo("deployments", "--all", "--json").document["deployments"]
    assert [each["state"] for each in ended] == ["ready", "undeployed"]
    assert freesolo("undeploy", run_id).code == 0
    assert freesolo("deployments", "--json").document == {"deployments": []}


def test_a_dry_run_of_a_deploy_shows_what_would_happen(freesolo: Freesolo, run_id: str) -> None:
    first = freesolo("deploy", run_id, "--dry-run", "--json").document
    assert (first["active_revision"], first["moves_alias"]) == (None, True)
    assert freesolo("deployments", "--all", "--json").document == {"deployments": []}
    shown = freesolo("deploy", run_id, "--stage", "--dry-run")
    assert "points to nothing" in shown.out
    assert "stays as it is" in shown.out
    assert "Every check of the hub passed" in shown.err
    assert "Nothing was deployed." in shown.err
    assert freesolo("deploy", f"{run_id}/step-9", "--dry-run", "--json").code == 3


def test_who_waits_in_vain_is_told_that_the_deployment_goes_on(
    freesolo: Freesolo, platform: Platform, run_id: str
) -> None:
    platform.process.may_start.clear()
    refused = freesolo("deploy", run_id, "--wait", "--timeout", "1", "--json")
    assert refused.code == 8
    assert "`freesolo deployments`" in refused.error["hint"]
    platform.process.may_start.set()
    with platform.client() as hub:
        assert eventually(hub.deployments, lambda found: found[0].active)


def test_a_deploy_that_fails_while_it_is_waited_for_gives_its_own_reason(
    freesolo: Freesolo, platform: Platform
) -> None:
    run_id = platform.saved_run()
    platform.complete(run_id, platform.adapter("idle", scale=0))
    failed = freesolo("deploy", run_id, "--wait", "--json")
    assert (failed.code, failed.error["code"]) == (2, "invalid_adapter")
    assert "no effect" in failed.error["message"]
    (ended,) = freesolo("deployments", "--all", "--json").document["deployments"]
    assert ended["state"] == "failed"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_timeout_that_is_none_is_a_usage_error(freesolo: Freesolo, seconds: str) -> None:
    assert freesolo("deploy", "run-0123456789", "--wait", "--timeout", seconds, "--json").code == 2
