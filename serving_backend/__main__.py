"""`python -m serving_backend serve`: run the gateway until it is told to end."""

import argparse

import uvicorn

from freesolo.errors import FreesoloError
from freesolo.logs import configure_logging
from freesolo.services import leave, load_settings
from serving_backend.app import create_app
from serving_backend.settings import ServingSettings

# Answers on their way may finish; then the engine is ended.
_GRACE_SECONDS = 10


def main() -> None:
    """Read the command line and the settings, and serve."""
    parser = argparse.ArgumentParser(prog="python -m serving_backend")
    parser.add_argument("command", choices=["serve"], help="run the gateway")
    parser.parse_args()
    settings = load_settings(ServingSettings)
    configure_logging(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
