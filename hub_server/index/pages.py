"""The simple index's pages, from rows to text: PEP 503 in HTML, PEP 691 and 700 in JSON.

Addresses are relative to the page, so that they hold behind any proxy and under any host name.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from html import escape
from urllib.parse import quote

from freesolo.domain.distributions import Distribution

_API_VERSION = "1.1"


class Format(StrEnum):
    """What a page may be written in; the values are media types."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML = "application/vnd.pypi.simple.v1+html"
    PLAIN_HTML = "text/html"


_MEDIA_TYPES = {
    **{format_.value: format_ for format_ in Format},
    "application/vnd.pypi.simple.latest+json": Format.JSON,
    "application/vnd.pypi.simple.latest+html": Format.HTML,
    "*/*": Format.PLAIN_HTML,
    "text/*": Format.PLAIN_HTML,
}


@dataclass(frozen=True)
class WheelLink:
    """One version's wheel as an index shows it. Digests are 64 hexadecimal digits, `size` is bytes.

    `yanked` is None unless the version was yanked, and then the reason, perhaps empty.
    """

    filename: str
    version: str
    sha256: str
    metadata_sha256: str
    size: int
    requires_python: str
    uploaded_at: datetime
    yanked: str | None = None


def accepted_format(accept: str) -> Format:
    """Return the format that an `Accept` header likes best; HTML for whoever knows none of ours."""
    best, chosen = 0.0, Format.PLAIN_HTML
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        if media_type in _MEDIA_TYPES and (weight := _weight(parameters)) > best:
            best, chosen = weight, _MEDIA_TYPES[media_type]
    return chosen


def listing(distributions: Iterable[Distribution], format_: Format) -> str:
    """Write the page that lists distributions."""
    names = [str(distribution) for distribution in distributions]
    if format_ is Format.JSON:
        meta = {"api-version": _API_VERSION}
        return json.dumps({"meta": meta, "projects": [{"name": name} for name in names]})
    return _html("Distributions", [f'<a href="{name}/">{name}</a>' for name in names])


def project(distribution: Distribution, links: Sequence[WheelLink], format_: Format) -> str:
    """Write the page of one distribution."""
    if format_ is Format.JSON:
        return json.dumps(
            {
                "meta": {"api-version": _API_VERSION},
                "name": str(distribution),
                "versions": [link.version for link in links],
                "files": [_json_link(link) for link in links],
            }
        )
    return _html(str(distribution), [_html_link(link) for link in links])


def _weight(parameters: Iterable[str]) -> float:
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    try:
        return float(named.get("q", "1"))
    except ValueError:
        return 0.0


def _json_link(link: WheelLink) -> dict[str, object]:
    metadata = {"sha256": link.metadata_sha256}
    return {
        "filename": link.filename,
        "url": _address(link),
        "hashes": {"sha256": link.sha256},
        "size": link.size,
        "upload-time": f"{link.uploaded_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "yanked": False if link.yanked is None else link.yanked or True,
        "core-metadata": metadata,
        # What installers before PEP 714 look for.
        "data-dist-info-metadata": metadata,
        **({"requires-python": link.requires_python} if link.requires_python else {}),
    }


def _html_link(link: WheelLink) -> str:
    attributes = {
        "href": f"{_address(link)}#sha256={link.sha256}",
        "data-core-metadata": f"sha256={link.metadata_sha256}",
        "data-dist-info-metadata": f"sha256={link.metadata_sha256}",
    }
    if link.requires_python:
        attributes["data-requires-python"] = link.requires_python
    if link.yanked is not None:
        attributes["data-yanked"] = link.yanked
    written = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f"<a {written}>{escape(link.filename)}</a>"


def _address(link: WheelLink) -> str:
    return f"../files/{quote(link.filename)}"


def _html(title: str, anchors: Iterable[str]) -> str:
    body = "".join(f"    {anchor}<br>\n" for anchor in anchors)
    return (
        "<!DOCTYPE html>\n<html>\n"
        f'  <head><meta name="pypi:repository-version" content="{_API_VERSION}">'
        f"<title>{escape(title)}</title></head>\n"
        f"  <body>\n{body}  </body>\n</html>\n"
    )
