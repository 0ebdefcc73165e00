"""What a run's environment builds on is pinned with it, when the run is submitted."""

from tests.component.hub.harness import HubUnderTest, error_of
from tests.factories import make_environment, pack_folder

SPEC = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "environment": {"id": "local/math"}}


def publish(hub: HubUnderTest, name: str, version: str, *on: str) -> None:
    folder = make_environment(hub.path / f"{name}-{version}", name=name, version=version)
    with (folder / "environment.toml").open("a") as manifest:
        manifest.write(f"environments = {list(on)}\n")
    answer = hub.send(pack_folder(folder), name, version)
    assert answer.is_success, answer.text


def builds_on(hub: HubUnderTest) -> list[tuple[str, str]]:
    """Return what the lease of the next run says its environment builds on."""
    return [(one["ref"], one["version"]) for one in hub.claim()["environment"]["builds_on"]]


def test_a_run_is_bound_to_what_its_environment_builds_on(any_hub: HubUnderTest) -> None:
    publish(any_hub, "base", "1.0")
    publish(any_hub, "tools", "1.0", "local/base")
    publish(any_hub, "tools", "2.0")
    publish(any_hub, "math", "1.0", "local/tools<2")
    any_hub.submit("math")
    publish(any_hub, "base", "1.1")

    assert builds_on(any_hub) == [("local/base", "1.0"), ("local/tools", "1.0")]


def test_a_run_whose_environment_builds_on_nothing_is_bound_to_nothing(hub: HubUnderTest) -> None:
    publish(hub, "math", "1.0")
    hub.submit("math")

    assert builds_on(hub) == []


def test_a_run_is_refused_if_no_versions_fit_together(hub: HubUnderTest) -> None:
    publish(hub, "base", "1.0")
    publish(hub, "tools", "1.0", "local/base<2")
    publish(hub, "base", "2.0")
    publish(hub, "math", "1.0", "local/tools", "local/base>=2")

    refusal = hub.user.post("/v1/runs", json={"spec": SPEC})

    assert refusal.status_code == 409
    assert "local/tools 1.0 wants local/base<2" in error_of(refusal)["message"]


def test_a_run_is_refused_if_what_it_builds_on_is_not_there(hub: HubUnderTest) -> None:
    publish(hub, "math", "1.0", "local/nowhere")

    refusal = hub.user.post("/v1/runs", json={"spec": SPEC})

    assert refusal.status_code == 404
    assert error_of(refusal)["hint"].startswith("local/math 1.0 wants local/nowhere.")


def test_a_run_is_refused_if_its_environment_builds_on_itself_through_another(
    hub: HubUnderTest,
) -> None:
    publish(hub, "math", "0.9")
    publish(hub, "tools", "1.0", "local/math<1")
    publish(hub, "math", "1.0", "local/tools")

    refusal = hub.user.post("/v1/runs", json={"spec": SPEC})

    assert refusal.status_code == 409
    assert (
        "local/math 1.0 builds on environments that build on local/math"
        in (error_of(refusal)["message"])
    )
