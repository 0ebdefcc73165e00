"""`runs reproduce` and `runs show`, on a run that was really trained, through a real worker."""

import json
from typing import Any

from freesolo.domain.lifecycle import RunState
from hub_server.models import Checkpoint, Run
from tests.component.worker.conftest import Command
from tests.component.worker.test_training import COUNT
from tests.hubs import resources_of
from tests.platforms import Platform


def tamper(platform: Platform, run_id: str) -> None:
    """Let a run have been made with another torch, and have come out otherwise at its last step."""
    with resources_of(platform.hub.app).sessions.begin() as session:
        run = session.get_one(Run, run_id)
        assert run.provenance is not None
        packages = {**run.provenance.packages, "torch": "1.0"}
        run.provenance = run.provenance.model_copy(update={"packages": packages})
        last = session.get_one(Checkpoint, (run_id, 2))
        last.adapter = last.adapter.model_copy(update={"tree_digest": f"sha256:{'0' * 64}"})


def test_a_run_made_again_is_identical_and_one_made_otherwise_says_what_differs(
    platform: Platform, command: Command
) -> None:
    platform.publish("count", COUNT)
    first = platform.submit("count", max_steps=2, save_every=1)
    assert command("runs", "reproduce", first.id)[0] == 4
    assert command("runs", "reproduce", "run-0000000000")[0] == 3
    platform.start_worker()
    platform.wait_for_state(first, RunState.DONE)

    code, out = command("runs", "reproduce", first.id, "--json")

    told: Any = json.loads(out)
    made_by = platform.client.run(first.id).provenance
    assert code == 0
    assert told["run"]["reproduces"] == first.id
    assert made_by is not None
    assert told["run"]["provenance"] == made_by.model_dump(mode="json")
    assert [step["step"] for step in told["comparison"]["steps"]] == [1, 2]
    assert told["comparison"]["identical"] is True
    assert f"Identical to {first.id}" in command("runs", "show", told["run"]["id"])[1]

    assert "made with" in command("runs", "show", first.id)[1]

    tamper(platform, first.id)
    code, out = command("runs", "reproduce", first.id)
    assert code == 1
    assert f"It differs from {first.id}" in out
    assert "packages.torch: '1.0' and" in out

    code, out = command("runs", "reproduce", first.id, "--background", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["run"]["reproduces"], told["comparison"]) == (first.id, None)


def test_a_run_made_again_with_another_package_in_its_environment_says_which(
    platform: Platform, command: Command
) -> None:
    platform.publish("count", COUNT)
    first = platform.submit("count", max_steps=1)
    platform.start_worker()
    platform.wait_for_state(first, RunState.DONE)
    # As if the environment's packages had been chosen on another day.
    (site,) = (platform.folder / "cache" / "venvs").glob("*/lib/python*/site-packages")
    (site / "shade-2.1.dist-info").mkdir()
    (site / "shade-2.1.dist-info" / "METADATA").write_text("Name: shade\nVersion: 2.1\n")

    code, out = command("runs", "reproduce", first.id, "--json")

    told: Any = json.loads(out)
    shown = command("runs", "show", told["run"]["id"])[1]
    assert code == 1
    assert [each["path"] for each in told["comparison"]["differences"]] == [
        "environment.packages.shade"
    ]
    assert "environment.packages.shade: None and '2.1'" in shown
    assert "shade 2.1" in shown
