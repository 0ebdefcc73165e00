"""`python -m serving_backend serve|engine`: run the gateway, or a host of an engine, until told to end."""

import argparse

import uvicorn

from freesolo.errors import FreesoloError
from freesolo.logs import configure_logging
from freesolo.services import leave, load_settings
from serving_backend import engine_host
from serving_backend.app import create_app
from serving_backend.server import serve
from serving_backend.settings import EngineHostSettings, ServingSettings


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m serving_backend")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the gateway")
    commands.add_parser("engine", help="run an engine for gateways elsewhere")
    if parser.parse_args().command == "serve":
        run_gateway()
    else:
        run_engine()


def run_gateway() -> None:
    """Read the gateway's settings, and serve."""
    settings = load_settings(ServingSettings)
    configure_logging(settings.log_level)
    serve(create_app(settings), settings)


def run_engine() -> None:
    """Read the settings of a host, and keep its engine."""
    settings = load_settings(EngineHostSettings)
    configure_logging(settings.log_level)
    uvicorn.run(
        engine_host.create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
    )


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
