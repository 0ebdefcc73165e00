"""A connection to one hub: what the calls of every resource share."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from freesolo.client.transport import Transport
from freesolo.domain.refs import check_name
from freesolo.errors import InvalidInput
from freesolo.schemas.accounts import ORG_HEADER
from freesolo.schemas.base import Page

Model = TypeVar("Model", bound=BaseModel)
PageModel = TypeVar("PageModel", bound=Page)


class HubConnection:
    """One hub and one key. `org` names the org to act in, for a key that has several."""

    def __init__(self, hub_url: str, api_key: str | None, *, org: str | None = None) -> None:
        headers = {ORG_HEADER: check_name(org, "org")} if org else {}
        self._transport = Transport(hub_url, api_key, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The hub's address."""
        return self._transport.base_url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _get(self, model: type[Model], path: str, **params: object) -> Model:
        response = self._transport.request("GET", path, params=params)
        return self._read(model, response)

    def _pages(self, model: type[PageModel], path: str, **params: object) -> Iterator[PageModel]:
        """Yield the pages of a listing, each asked for when the one before has been used up."""
        cursor: str | None = None
        while True:
            page = self._get(model, path, cursor=cursor, **params)
            yield page
            if (cursor := page.next_cursor) is None:
                return

    def _send(self, method: str, path: str, body: BaseModel, answer: type[Model]) -> Model:
        response = self._transport.request(method, path, json_body=body.model_dump(mode="json"))
        return self._read(answer, response)

    def _read(self, model: type[Model], response: httpx.Response) -> Model:
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise InvalidInput(
                f"{self._transport.base_url} does not answer as a hub of this release does.",
                hint="Is it a hub's address? FREESOLO_HUB_URL or `freesolo login --hub-url` sets it.",
            ) from None


def path_part(text: str) -> str:
    """Write what a user typed as one part of a path, so that it can name nothing else."""
    if text in ("", ".", ".."):
        raise InvalidInput(f"{text!r} is not an id.")
    return quote(text, safe="")
