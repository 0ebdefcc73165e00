"""The official OpenAI clients, led to a Freesolo gateway instead of to OpenAI.

`freesolo.OpenAI` and `freesolo.AsyncOpenAI` take what the official ones take. Nothing that is set
up for OpenAI, neither its keys nor its addresses, is used or sent. Importing this module imports
`openai`; importing `freesolo` does not.
"""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import openai
from openai._models import FinalRequestOptions

if TYPE_CHECKING:
    from typing import Self  # newer than the oldest Python that an environment may run on

_PROJECT_HEADER = "X-Freesolo-Project-Id"
_ORG_HEADER = "Freesolo-Org"
_COMPLETIONS = "/chat/completions"


@dataclass(frozen=True)
class FreesoloConfig:
    """Where requests go, the key they carry and the project they belong to."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    project_id: str | None = None


class OpenAI(openai.OpenAI):
    """`openai.OpenAI` for a Freesolo gateway.

    Each of key, address and project is the first that is set: its own argument, `freesolo`, the
    official argument, and the variable `FREESOLO_API_KEY`, `FREESOLO_BASE_URL` or
    `FREESOLO_PROJECT_ID`. Without an address it is the gateway of the platform that this user is
    logged in to, with the stored key if there is no other. Completions are asked to be recorded
    unless `store` says otherwise. Raise `openai.OpenAIError` if there is no key, or no address, and
    `TypeError` for a value of `freesolo` that is no text.
    """

    def __init__(
        self,
        *,
        freesolo: FreesoloConfig | Mapping[str, str] | None = None,
        freesolo_api_key: str | None = None,
        freesolo_base_url: str | None = None,
        project_id: str | None = None,
        **options: Any,  # noqa: ANN401 - the official ones
    ) -> None:
        own = FreesoloConfig(freesolo_api_key, freesolo_base_url, project_id)
        config = _resolved(own, freesolo, options)
        super().__init__(**_official(options, config))
        self.project_id = config.project_id
        # The parent takes these from OpenAI's variables.
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = _headers(options, config)

    def copy(self, *, _extra_kwargs: Mapping[str, Any] | None = None, **options: Any) -> "Self":  # noqa: ANN401
        """Return a client with the same options but those that are given."""
        extra = {"project_id": self.project_id, **(_extra_kwargs or {})}
        return super().copy(_extra_kwargs=extra, **options)

    with_options = copy

    def _prepare_options(self, options: FinalRequestOptions) -> FinalRequestOptions:
        return _recorded(super()._prepare_options(options))


class AsyncOpenAI(openai.AsyncOpenAI):
    """`openai.AsyncOpenAI` for a Freesolo gateway; see `OpenAI`.

    Without an address the constructor asks the hub for one, and waits for its answer.
    """

    def __init__(
        self,
        *,
        freesolo: FreesoloConfig | Mapping[str, str] | None = None,
        freesolo_api_key: str | None = None,
        freesolo_base_url: str | None = None,
        project_id: str | None = None,
        **options: Any,  # noqa: ANN401 - the official ones
    ) -> None:
        own = FreesoloConfig(freesolo_api_key, freesolo_base_url, project_id)
        config = _resolved(own, freesolo, options)
        super().__init__(**_official(options, config))
        self.project_id = config.project_id
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = _headers(options, config)

    def copy(self, *, _extra_kwargs: Mapping[str, Any] | None = None, **options: Any) -> "Self":  # noqa: ANN401
        """Return a client with the same options but those that are given."""
        extra = {"project_id": self.project_id, **(_extra_kwargs or {})}
        return super().copy(_extra_kwargs=extra, **options)

    with_options = copy

    async def _prepare_options(self, options: FinalRequestOptions) -> FinalRequestOptions:
        return _recorded(await super()._prepare_options(options))


def _resolved(
    own: FreesoloConfig,
    freesolo: FreesoloConfig | Mapping[str, str] | None,
    options: Mapping[str, Any],
) -> FreesoloConfig:
    config = freesolo if isinstance(freesolo, FreesoloConfig) else FreesoloConfig(**freesolo or {})
    _check(config)
    environment = os.environ  # noqa: TID251 - read at construction: the contract says so
    api_key = own.api_key or config.api_key or options.get("api_key")
    api_key = api_key or environment.get("FREESOLO_API_KEY")
    base_url = own.base_url or config.base_url or options.get("base_url")
    base_url = base_url or environment.get("FREESOLO_BASE_URL")
    project_id = own.project_id or config.project_id or environment.get("FREESOLO_PROJECT_ID")
    if not base_url:
        base_url, api_key = _platform(api_key)
    if not api_key:
        raise openai.OpenAIError(
            "There is no key for Freesolo: pass `api_key`, or set FREESOLO_API_KEY."
        )
    return FreesoloConfig(api_key, _with_version(str(base_url)), project_id)


def _check(config: FreesoloConfig) -> None:
    for name in (option.name for option in fields(config)):
        if not isinstance(getattr(config, name), str | None):
            raise TypeError(f"freesolo.{name} must be a string")


def _platform(api_key: str | None) -> tuple[str, str | None]:
    """Return the gateway of the platform that this user is logged in to, and the key for it."""
    way_out = "Pass `base_url`, set FREESOLO_BASE_URL, or log in with `freesolo login`."
    if find_spec("freesolo.logged_in") is None:
        # An environment host has only the contract, and no platform of its own.
        raise openai.OpenAIError(f"There is no address of a gateway. {way_out}")
    freesolo_error = importlib.import_module("freesolo.errors").FreesoloError
    try:
        address: tuple[str, str | None] = importlib.import_module("freesolo.logged_in").gateway(
            api_key
        )
    except freesolo_error as error:
        raise openai.OpenAIError(f"There is no address of a gateway: {error} {way_out}") from error
    return address


def _with_version(base_url: str) -> str:
    address = base_url.rstrip("/")
    return address if address.endswith("/v1") else f"{address}/v1"


def _official(options: Mapping[str, Any], config: FreesoloConfig) -> dict[str, Any]:
    """Return the arguments of the official client, without those that name an account of OpenAI's."""
    kept = {name: options[name] for name in options if name not in ("organization", "project")}
    return {**kept, "api_key": config.api_key, "base_url": config.base_url}


def _headers(options: Mapping[str, Any], config: FreesoloConfig) -> dict[str, str]:
    """Return the caller's headers, and the project's instead of any that the caller gave.

    FREESOLO_ORG says which org is meant, for a key that has several.
    """
    org = os.environ.get("FREESOLO_ORG")  # noqa: TID251 - as above
    given = {**({_ORG_HEADER: org} if org else {}), **(options.get("default_headers") or {})}
    if not config.project_id:
        return given
    kept = {name: given[name] for name in given if name.lower() != _PROJECT_HEADER.lower()}
    return {**kept, _PROJECT_HEADER: config.project_id}


def _recorded(options: FinalRequestOptions) -> FinalRequestOptions:
    """Ask for a completion to be recorded, unless its request says whether it is to be."""
    body = options.json_data
    if options.method.lower() != "post" or options.url != _COMPLETIONS:
        return options
    if isinstance(body, dict) and "store" not in {**body, **(options.extra_json or {})}:
        options.json_data = {**body, "store": True}
    return options
