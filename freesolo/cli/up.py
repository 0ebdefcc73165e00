"""`freesolo up` and `down`: the whole platform on this machine."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.config import DEFAULT_GATEWAY_PORT, DEFAULT_HUB_PORT
from freesolo.errors import Unavailable, from_wire
from freesolo.logs import configure_logging
from freesolo.supervisor import (
    Platform,
    Ready,
    find_running,
    interrupt_on_sigterm,
    running,
    stop,
)

_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the platform's data; `data` in FREESOLO_HOME by default.",
)


@click.command()
@_data_dir_option
@click.option(
    "--hub-port", type=click.IntRange(1, 65535), default=DEFAULT_HUB_PORT, show_default=True
)
@click.option(
    "--gateway-port", type=click.IntRange(1, 65535), default=DEFAULT_GATEWAY_PORT, show_default=True
)
@click.option("--detach", is_flag=True, help="Return once the platform answers; it runs on.")
@json_option("hub_url, gateway_url, api_key, data_dir")
@pass_app
def up(app: App, *, data_dir: Path | None, hub_port: int, gateway_port: int, detach: bool) -> None:
    """Start the platform on this machine: hub, worker and gateway.

    Started again on the same folder it takes up where it was. Ctrl-C stops it.
    """
    platform = Platform(
        data_dir=_data_dir(app, data_dir),
        hub_port=hub_port,
        gateway_port=gateway_port,
        cache_dir=app.settings.cache,
    )
    # The platform's processes inherit this one's environment, as programs that a shell starts do.
    environ = dict(os.environ)  # noqa: TID251
    if (ready := find_running(platform, app.credentials, environ)) is not None:
        app.out.talk("The platform already runs.")
        _announce(app, ready)
        return
    if detach:
        _announce(app, _start_detached(app, platform))
        app.out.next_step("freesolo init my-task")
        return
    configure_logging("WARNING")
    interrupt_on_sigterm()
    app.out.talk("Starting the platform ...")
    try:
        with running(platform, app.credentials, environ) as supervisor:
            _announce(app, supervisor.ready)
            app.out.talk("Ctrl-C stops the platform.")
            supervisor.watch()
    except KeyboardInterrupt:
        app.out.talk("The platform has stopped.")


@click.command()
@_data_dir_option
@json_option("data_dir, stopped")
@pass_app
def down(app: App, *, data_dir: Path | None) -> None:
    """Stop the platform of a data folder and wait until all of it is gone."""
    folder = _data_dir(app, data_dir)
    stopped = stop(folder)
    app.out.document({"data_dir": str(folder), "stopped": stopped})
    app.out.data("The platform has stopped." if stopped else f"Nothing runs on {folder}.")
    app.out.next_step(f"freesolo up --data-dir {folder}" if data_dir else "freesolo up")


def _data_dir(app: App, data_dir: Path | None) -> Path:
    return (data_dir or app.settings.default_data_dir).expanduser().resolve()


def _announce(app: App, ready: Ready) -> None:
    app.out.document(asdict(ready))
    app.out.fields(
        {
            "hub": ready.hub_url,
            "gateway": f"{ready.gateway_url}/v1",
            "api key": ready.api_key,
            "data": ready.data_dir,
        }
    )


def _start_detached(app: App, platform: Platform) -> Ready:
    """Start `freesolo up` in a session of its own and wait for what it announces."""
    platform.make_folders()
    log = platform.logs_dir / "up.log"
    app.out.talk("Starting the platform ...")
    with log.open("ab") as errors:
        begin = errors.tell()
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "freesolo", "up", "--json"),
                *("--data-dir", str(platform.data_dir)),
                *("--hub-port", str(platform.hub_port)),
                *("--gateway-port", str(platform.gateway_port)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    return _announced(child, log, begin)


def _announced(child: subprocess.Popen[bytes], log: Path, begin: int) -> Ready:
    """Return what the platform announces in its first line; raise what it logged if it ends."""
    assert child.stdout is not None  # noqa: S101 - PIPE was asked for
    with child.stdout as announcement:
        line = announcement.readline()
    if line:
        return Ready(**json.loads(line))
    child.wait()
    said = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    for text in reversed(said):
        if text.startswith('{"error":'):
            raise from_wire(json.loads(text), 503)
    raise Unavailable("The platform stopped while it started.", hint=f"Its log is {log}.")
