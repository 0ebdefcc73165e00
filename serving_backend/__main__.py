"""`python -m serving_backend serve`: run the gateway until it is told to end."""

import argparse

from freesolo.errors import FreesoloError
from freesolo.logs import configure_logging
from freesolo.services import leave, load_settings
from serving_backend.app import create_app
from serving_backend.server import serve
from serving_backend.settings import ServingSettings


def main() -> None:
    """Read the command line and the settings, and serve."""
    parser = argparse.ArgumentParser(prog="python -m serving_backend")
    parser.add_argument("command", choices=["serve"], help="run the gateway")
    parser.parse_args()
    settings = load_settings(ServingSettings)
    configure_logging(settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    try:
        main()
    except FreesoloError as error:
        leave(error)
