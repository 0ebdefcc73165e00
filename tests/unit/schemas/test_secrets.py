"""Models that carry secrets show them only where they are sent."""

import pytest
from pydantic import SecretStr, ValidationError

from freesolo.schemas.base import Wire
from freesolo.schemas.leases import LeaseSecrets
from freesolo.schemas.runs import NewRun, Reproduction
from freesolo.schemas.secrets import NewSecret

VALUE = "judge-me-not"
SECRET = SecretStr(VALUE)
NEW_RUN = NewRun(spec={}, secrets={"JUDGE_API_KEY": SECRET})
LEASE_SECRETS = LeaseSecrets(secrets={"JUDGE_API_KEY": SECRET}, job={"TEACHER_API_KEY": SECRET})


@pytest.mark.parametrize("model", [NEW_RUN, LEASE_SECRETS, NewSecret(value=SECRET)], ids=repr)
def test_a_printed_model_shows_no_secret(model: Wire) -> None:
    assert VALUE not in f"{model} {model!r}"


def test_what_is_made_of_a_request_for_a_run_knows_names_alone() -> None:
    dumped = NEW_RUN.model_dump_json()
    assert "JUDGE_API_KEY" in dumped
    assert VALUE not in dumped


def test_the_holder_of_a_lease_and_the_hub_are_sent_the_values() -> None:
    assert LEASE_SECRETS.model_dump() == {
        "secrets": {"JUDGE_API_KEY": VALUE},
        "job": {"TEACHER_API_KEY": VALUE},
    }
    assert NewSecret(value=SECRET).model_dump(mode="json") == {"value": VALUE}


@pytest.mark.parametrize("model", [NewRun, Reproduction, LeaseSecrets, NewSecret])
def test_a_document_that_does_not_fit_is_not_repeated(model: type[Wire]) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate_json(
            f'{{"spec": "{VALUE}", "secrets": ["{VALUE}"], "values": "{VALUE}"}}'
        )
    assert VALUE not in str(raised.value)
