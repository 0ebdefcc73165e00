"""`freesolo usage`: what an org used, for people, for programs and for spreadsheets."""

import csv
from datetime import UTC, datetime

import pytest

from freesolo.client.hub import HubClient
from freesolo.client.transport import Transport
from freesolo.domain.prices import Prices
from freesolo.schemas.accounts import NewKey
from freesolo.schemas.usage import UsageBatch, UsageRecord, Witness
from tests.component.cli.conftest import Freesolo
from tests.hubs import ORG, LiveHub


@pytest.fixture
def key_ids(with_hub: LiveHub) -> list[str]:
    """Two keys of one name, each of which was used once."""
    with HubClient(with_hub.url, with_hub.user_key) as hub:
        ids = [str(hub.create_key(NewKey(name="=ci")).id) for _ in range(2)]
    records = [
        UsageRecord(
            id=key_id,
            org=ORG,
            key_id=key_id,
            model="m",
            prices=Prices(prompt=1, cached=1, completion=1),
            created_at=datetime(2030, 1, 1, tzinfo=UTC),
            witness=Witness.GATEWAY,
            prompt_tokens=10,
        )
        for key_id in ids
    ]
    gateway = Transport(with_hub.url, with_hub.gateway_key)
    body = UsageBatch(records=records).model_dump(mode="json")
    gateway.request("POST", "/v1/gateway/usage", json_body=body)
    gateway.close()
    return ids


def test_keys_of_one_name_have_a_line_each(freesolo: Freesolo, key_ids: list[str]) -> None:
    for command in (("usage", "--csv"), ("usage", "--csv", "--by", "key")):
        rows = list(csv.DictReader(freesolo(*command).out.splitlines()))
        assert {row["key_id"] for row in rows} == set(key_ids)
        # Spreadsheets would run what begins like a formula.
        assert [(row["key_name"], row["requests"]) for row in rows] == [("'=ci", "1")] * 2
    usage = freesolo("usage", "--json").document["usage"]
    assert {line["key_id"] for line in usage} == set(key_ids)
    shown = freesolo("usage").out
    assert all(line["key_prefix"] in shown for line in usage)
    assert key_ids[0] not in shown


def test_an_answer_is_for_a_spreadsheet_or_for_a_program(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    both = freesolo("usage", "--csv", "--json")
    assert (both.code, both.error["code"]) == (2, "invalid_input")
    assert "--csv or --json" in both.error["message"]
