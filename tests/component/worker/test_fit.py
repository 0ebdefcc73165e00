"""A run that is larger than the machine ends before its base model is loaded, and says why."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from freesolo.client.hub import HubClient
from freesolo.domain.lifecycle import RunState
from tests import tiny_model
from tests.component.worker.test_training import COUNT
from tests.hubs import LiveHub
from tests.platforms import LEASE_SECONDS, Platform

# As the catalog has it, the tiny model has layers without end.
ENDLESS = (
    "shape = { hidden = 64, layers = 1_000_000_000, heads = 2, kv_heads = 1, head_width = 32, "
    "intermediate = 128, vocabulary = 259 }\n"
)


@pytest.fixture
def platform(start_live_hub: Callable[..., LiveHub], tmp_path: Path) -> Iterator[Platform]:
    """A platform whose catalog says of the tiny model that it is larger than any machine."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(tiny_model.catalog_toml(tiny_model.build(tmp_path / "tiny")) + ENDLESS)
    hub = start_live_hub(catalog=catalog, lease_seconds=LEASE_SECONDS)
    with HubClient(hub.url, hub.user_key) as client, ExitStack() as started:
        yield Platform(hub, client, tmp_path, started)


@pytest.mark.parametrize("algorithm", ["sft", "grpo"])
def test_a_run_without_room_fails_with_the_part_that_is_too_large(
    platform: Platform, algorithm: str
) -> None:
    platform.publish("count", COUNT)
    run = platform.submit("count", algorithm=algorithm, max_steps=1)
    platform.start_worker()
    ended = platform.wait_for_state(run, RunState.FAILED)
    assert ended.error is not None
    assert ended.error.code == "limit_exceeded"
    assert "are free" in ended.error.message
    assert "the activations of a pass take" in ended.error.message
    assert ended.error.hint
    assert ended.started_at is None
