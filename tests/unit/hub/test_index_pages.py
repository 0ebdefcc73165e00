"""The simple index's pages: what each format says, and which one is chosen."""

import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from packaging.utils import parse_wheel_filename

from freesolo.domain.distributions import Distribution
from hub_server.index.pages import Format, WheelLink, accepted_format, listing, project

MATH = Distribution.of("acme", "math")
PIP = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)


def link(version: str = "1.2.0", yanked: str | None = None) -> WheelLink:
    return WheelLink(
        filename=MATH.wheel(version),
        version=version,
        sha256="a" * 64,
        metadata_sha256="b" * 64,
        size=123,
        requires_python=">=3.11,<4",
        uploaded_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        yanked=yanked,
    )


class Anchors(HTMLParser):
    """The attributes and texts of a page's links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "a"
        if self._inside:
            self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.append(data)
        self._inside = False


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", Format.PLAIN_HTML),
        ("*/*", Format.PLAIN_HTML),
        (PIP, Format.JSON),
        ("application/vnd.pypi.simple.latest+json", Format.JSON),
        ("APPLICATION/vnd.pypi.simple.v1+json", Format.JSON),
        ("application/vnd.pypi.simple.v1+html", Format.HTML),
        ("text/html;q=0.5, application/vnd.pypi.simple.v1+json;q=0.4", Format.PLAIN_HTML),
        ("application/vnd.pypi.simple.v1+json;q=0", Format.PLAIN_HTML),
        ("application/vnd.pypi.simple.v1+json;q=much", Format.PLAIN_HTML),
        ("image/png", Format.PLAIN_HTML),
        (";;,=,", Format.PLAIN_HTML),
    ],
)
def test_the_format_is_the_one_that_the_client_likes_best(accept: str, format_: Format) -> None:
    assert accepted_format(accept) is format_


def test_json_says_what_the_standards_ask_for() -> None:
    assert json.loads(project(MATH, [link(), link("2.0", yanked="wrong")], Format.JSON)) == {
        "meta": {"api-version": "1.1"},
        "name": "fsenv-acme-math",
        "versions": ["1.2.0", "2.0"],
        "files": [
            {
                "filename": "fsenv_acme_math-1.2.0-py3-none-any.whl",
                "url": "../files/fsenv_acme_math-1.2.0-py3-none-any.whl",
                "hashes": {"sha256": "a" * 64},
                "size": 123,
                "upload-time": "2026-01-02T03:04:05.000000Z",
                "requires-python": ">=3.11,<4",
                "yanked": False,
                "core-metadata": {"sha256": "b" * 64},
                "data-dist-info-metadata": {"sha256": "b" * 64},
            },
            {
                "filename": "fsenv_acme_math-2.0-py3-none-any.whl",
                "url": "../files/fsenv_acme_math-2.0-py3-none-any.whl",
                "hashes": {"sha256": "a" * 64},
                "size": 123,
                "upload-time": "2026-01-02T03:04:05.000000Z",
                "requires-python": ">=3.11,<4",
                "yanked": "wrong",
                "core-metadata": {"sha256": "b" * 64},
                "data-dist-info-metadata": {"sha256": "b" * 64},
            },
        ],
    }


def test_html_says_the_same() -> None:
    anchors = Anchors(project(MATH, [link(yanked='<b> & "')], Format.HTML))
    assert anchors.texts == ["fsenv_acme_math-1.2.0-py3-none-any.whl"]
    assert anchors.attributes == [
        {
            "href": f"../files/fsenv_acme_math-1.2.0-py3-none-any.whl#sha256={'a' * 64}",
            "data-core-metadata": f"sha256={'b' * 64}",
            "data-dist-info-metadata": f"sha256={'b' * 64}",
            "data-requires-python": ">=3.11,<4",
            "data-yanked": '<b> & "',
        }
    ]


def test_a_version_yanked_without_a_reason_is_yanked_all_the_same() -> None:
    yanked = link(yanked="")
    assert json.loads(project(MATH, [yanked], Format.JSON))["files"][0]["yanked"] is True
    assert Anchors(project(MATH, [yanked], Format.HTML)).attributes[0]["data-yanked"] == ""


def test_the_address_of_a_version_with_epoch_and_local_part_is_quoted() -> None:
    odd = link("1!2.0+local.1")
    address = json.loads(project(MATH, [odd], Format.JSON))["files"][0]["url"]
    assert address == "../files/fsenv_acme_math-1%212.0%2Blocal.1-py3-none-any.whl"
    assert str(parse_wheel_filename(odd.filename)[1]) == "1!2.0+local.1"


def test_distributions_are_listed_with_addresses_beside_the_page() -> None:
    both = [MATH, Distribution.of("my-lab", "x")]
    assert json.loads(listing(both, Format.JSON)) == {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": "fsenv-acme-math"}, {"name": "fsenv2-my-lab-x"}],
    }
    anchors = Anchors(listing(both, Format.PLAIN_HTML))
    assert [each["href"] for each in anchors.attributes] == ["fsenv-acme-math/", "fsenv2-my-lab-x/"]
