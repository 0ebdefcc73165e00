"""docs/openapi.json describes the hub as it is."""

import json
from pathlib import Path

from hub_server.app import create_app
from hub_server.settings import HubSettings

SNAPSHOT = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_openapi_document_in_the_repository_is_current(hub_settings: HubSettings) -> None:
    current = create_app(hub_settings).openapi()
    assert json.loads(SNAPSHOT.read_text()) == json.loads(json.dumps(current)), (
        "run `python -m hub_server openapi > docs/openapi.json`"
    )
