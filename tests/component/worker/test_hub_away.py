"""A hub that goes away in the middle of a run, or that only its worker cannot reach, and comes back."""

import shutil
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from freesolo.client.hub import HubClient
from freesolo.client.transport import Transport
from freesolo.domain.devices import CPU, Devices
from freesolo.domain.lifecycle import RunState
from freesolo.errors import LeaseLost
from freesolo.schemas.leases import Lease
from freesolo.schemas.runs import EventKind, NewEvent
from hub_server.app import create_app
from hub_server.models import Run
from hub_server.settings import HubSettings
from tests import tiny_model
from tests.component.worker.test_training import COUNT
from tests.component.worker.test_watching import gone, outcomes
from tests.cut_network import link_to
from tests.hubs import LiveHub, make_keys, resources_of, serving
from tests.platforms import Platform, wait_for
from tests.ports import free_port
from training_backend.hub import LeaseHub

STEPS = 400


def test_a_run_trains_on_while_the_hub_is_away_and_tells_it_all_afterwards(
    tmp_path: Path, migrated_sqlite: Path
) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(tiny_model.catalog_toml(tiny_model.build(tmp_path / "tiny")))
    (tmp_path / "hub").mkdir()
    shutil.copy(migrated_sqlite, tmp_path / "hub" / "hub.db")
    settings = HubSettings(data_dir=tmp_path / "hub", catalog=catalog)
    port = free_port()
    app = create_app(settings)
    keys = make_keys(app)
    url = f"http://127.0.0.1:{port}"
    hub = LiveHub(url, keys.user, keys.worker, keys.gateway, settings.data_dir, app)

    with ExitStack() as started, HubClient(url, keys.user) as client:
        platform = Platform(hub, client, tmp_path, started)
        with serving(app, port=port):
            platform.publish("count", COUNT)
            run = platform.submit("count", max_steps=STEPS, save_every=100)
            worker = platform.start_worker()
            wait_for(lambda: bool(client.run(run.id).step))

        # It makes its next checkpoints all by itself.
        made = worker.work_dir / f"{run.id}-1"
        wait_for(lambda: (made / "checkpoint-300" / "state.tar.zst").exists())
        # As if that had taken it five minutes.
        with resources_of(app).sessions.begin() as session:
            long_ago = datetime.now(UTC) - timedelta(minutes=5)
            session.execute(update(Run).values(lease_until=long_ago))

        with (
            serving(create_app(settings), port=port),
            closing(Transport(url, keys.worker)) as transport,
        ):
            # Nobody else gets the run because its worker could not be heard.
            assert LeaseHub(transport).claim("rival", Devices(CPU, 1)) is None
            run = platform.wait_for_state(run, RunState.DONE)

            assert [made.outcome for made in client.run(run.id).attempts] == ["done"]
            assert [point.step for point in client.checkpoints(run.id)] == [100, 200, 300, 400]
            told = [e.step for e in platform.events(run) if e.kind is EventKind.METRICS]
            assert told == list(range(1, STEPS + 1))


def test_a_worker_that_is_cut_off_loses_its_run_to_another_and_writes_nothing_more(
    platform: Platform,
) -> None:
    platform.publish("count", COUNT)
    run = platform.submit("count", max_steps=STEPS, save_every=100)
    rival = replace(platform, folder=platform.folder / "rival")
    with (
        link_to(platform.hub.url) as link,
        closing(Transport(platform.hub.url, platform.hub.worker_key)) as transport,
    ):
        cut_off = platform.start_worker(hub_url=link.url)
        job = cut_off.job(run)
        lease = Lease.model_validate_json((cut_off.work_dir / f"{run.id}-1/lease.json").read_text())
        rival.start_worker(cache_dir=platform.folder / "cache")
        wait_for(lambda: bool(platform.client.run(run.id).step))

        link.cut()
        # As if its last heartbeat were that long ago.
        with resources_of(platform.hub.app).sessions.begin() as session:
            long_ago = datetime.now(UTC) - timedelta(minutes=5)
            session.execute(update(Run).values(lease_until=long_ago))
        wait_for(lambda: platform.client.run(run.id).attempt == 2)

        # It trains on, knowing nothing of it, and is refused when it can be heard again.
        assert not gone(job)
        link.mend()
        wait_for(lambda: gone(job))
        event = NewEvent(kind=EventKind.METRICS, step=STEPS, data={"loss": 0.0})
        with pytest.raises(LeaseLost):
            LeaseHub(transport).send_events(lease, [event], first=0)

        platform.wait_for_state(run, RunState.DONE)

    assert outcomes(platform, run) == ["lost", "done"]
    assert cut_off.process.is_running()
    assert [point.step for point in platform.client.checkpoints(run.id)] == [100, 200, 300, 400]
    first, second = platform.client.run(run.id).attempts
    told = [(e.attempt, e.step) for e in platform.events(run) if e.kind is EventKind.METRICS]
    assert told == [
        *((1, step) for step in range(1, (first.last_step or 0) + 1)),
        *((2, step) for step in range(second.first_step + 1, STEPS + 1)),
    ]
