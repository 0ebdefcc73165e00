"""A hub that goes away in the middle of a run and comes back."""

import shutil
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import update

from freesolo.client.hub import HubClient
from freesolo.client.transport import Transport
from freesolo.domain.devices import CPU, Devices
from freesolo.domain.lifecycle import RunState
from freesolo.schemas.runs import EventKind
from hub_server.app import create_app
from hub_server.models import Run
from hub_server.settings import HubSettings
from tests import tiny_model
from tests.component.worker.test_training import COUNT
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
