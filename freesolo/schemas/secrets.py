"""Secrets of a project. What is stored is never shown again: only its name, who set it, and when."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, PlainSerializer, SecretStr

from freesolo.schemas.base import Wire

# Shown as stars wherever a model is printed, and written out only where one is sent.
SentSecret = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value, return_type=str)]


class NewSecret(Wire):
    """The body of `PUT /v1/secrets/{secret}`."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    value: SentSecret


class StoredSecret(Wire):
    """A secret of a project, without its value. `updated_by` is a person's handle, or a key's name."""

    name: str
    updated_by: str
    updated_at: datetime


class SecretList(Wire):
    """The answer of `GET /v1/secrets`, by name."""

    secrets: list[StoredSecret]
