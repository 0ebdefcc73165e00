"""READMEs: readable, and harmless whatever was written in them."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_server.contents.readme import MAX_README, render_readme


class Elements(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(markdown: str) -> list[tuple[str, dict[str, str | None]]]:
    return Elements(render_readme(markdown)).found


def tags(markdown: str) -> set[str]:
    return {tag for tag, _ in elements(markdown)}


def test_markdown_becomes_html() -> None:
    assert render_readme("Some *words* and `code`.\n") == (
        "<p>Some <em>words</em> and <code>code</code>.</p>\n"
    )


def test_tables_are_tables() -> None:
    assert {"table", "th", "td"} <= tags("| a | b |\n|---|---|\n| 1 | 2 |\n")


def test_headings_have_ids_that_no_page_around_them_has() -> None:
    found = elements("# How to *use* it\n# Use\n# Use\n# !\n")
    assert [attributes["id"] for tag, attributes in found if tag == "h1"] == [
        "readme-how-to-use-it",
        "readme-use",
        "readme-use-1",
        "readme-section",
    ]


def test_a_link_to_a_heading_finds_it() -> None:
    assert elements("[there](#Use)")[-1] == (
        "a",
        {"href": "#readme-use", "rel": "nofollow noopener"},
    )


def test_links_vouch_for_nothing() -> None:
    assert elements("[site](https://example.com)")[-1] == (
        "a",
        {"href": "https://example.com", "rel": "nofollow noopener"},
    )


def test_an_image_of_the_package_is_shown() -> None:
    assert elements("![plot](assets/plot.png)")[-1] == (
        "img",
        {"src": "assets/plot.png", "alt": "plot"},
    )


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/x.png",
        "HTTP://example.com/x.png",
        "//example.com/x.png",
        "/v1/keys",
        "../../v1/keys",
        "%2e%2e/v1/keys",
    ],
)
def test_an_image_from_elsewhere_becomes_a_link(address: str) -> None:
    (link,) = [attributes for tag, attributes in elements(f"![plot]({address})") if tag != "p"]
    assert link == {"href": address, "rel": "nofollow noopener"}
    assert ">plot</a>" in render_readme(f"![plot]({address})")


def test_a_badge_in_a_link_becomes_its_text() -> None:
    html = render_readme("[![build](https://badge/x.svg)](https://ci)")
    assert html == '<p><a href="https://ci" rel="nofollow noopener">build</a></p>\n'


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/x.png",
        "//example.com/x.png",
        "\\\\example.com\\x.png",
        "/\t/example.com/x.png",
        " //example.com/x.png",
        "/v1/keys",
        "a/../../v1/keys",
        "a\\..\\..\\v1",
        "data:image/png;base64,AAAA",
        "http://[",
    ],
)
def test_an_image_written_as_html_is_not_fetched_from_elsewhere(address: str) -> None:
    assert elements(f'<img src="{address}" alt="plot">')[-1] == ("img", {"alt": "plot"})


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        '<img src=x onerror="alert(1)">',
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<style>* { display: none }</style>",
        '<p style="position: fixed" class="login" id="login">x</p>',
        '<form action="https://example.com"><input name="key"><button>Go</button></form>',
        '<iframe src="https://example.com"></iframe>',
        '<object data="x"></object><embed src="x">',
        '<link rel="stylesheet" href="https://example.com/x.css">',
        '<meta http-equiv="refresh" content="0; url=https://example.com">',
        '<base href="https://example.com">',
        '<a href="javascript:alert(1)">x</a>',
        '<a href="java\tscript:alert(1)">x</a>',
        '<a href="&#106;avascript:alert(1)">x</a>',
        '<a href="data:text/html,<script>alert(1)</script>">x</a>',
        "[x](javascript:alert(1))",
        "[x](vbscript:x)",
        "![x](javascript:alert(1))",
        '[x](https://e.com "onmouseover=alert(1) \\" onclick=alert(1)")',
        "<!--[if IE]><script>alert(1)</script><![endif]-->",
        "<video src=https://example.com autoplay></video><audio src=x></audio>",
        '<input type="image" src="https://example.com"><textarea></textarea>',
        '<img srcset="https://example.com/x 2x" src="a.png">',
        '<table background="https://example.com/x"><tr><td>x</td></tr></table>',
    ],
)
def test_nothing_that_runs_styles_sends_or_fetches_is_left(hostile: str) -> None:
    _assert_harmless(f"# Title\n\n{hostile}\n")


@given(st.text(alphabet=st.sampled_from("<>\"'=/:;()[]!#`*&- \nascrpthefonimgjv"), max_size=200))
def test_any_text_is_rendered_and_harmless(markdown: str) -> None:
    _assert_harmless(markdown)


def _assert_harmless(markdown: str) -> None:
    for tag, attributes in elements(markdown):
        assert tag not in {"script", "style", "form", "input", "button", "iframe", "object", "svg"}
        assert tag not in {"link", "meta", "base", "embed", "math", "video", "audio", "textarea"}
        assert set(attributes) <= {"href", "rel", "title", "src", "alt", "id", "start"}
        assert (attributes.get("id") or "readme-").startswith("readme-")
        assert ":" not in (attributes.get("src") or "")
        scheme, colon, _ = (attributes.get("href") or "").partition(":")
        assert not colon or "/" in scheme or scheme in {"http", "https", "mailto"}


def test_a_readme_longer_than_the_limit_is_cut_and_says_so() -> None:
    html = render_readme("word " * MAX_README)
    assert len(html) < MAX_README + 200
    assert "longer than what is shown" in html


@pytest.mark.parametrize("piece", ["<div>", "> ", "- ", "|a"])
def test_input_that_nests_without_end_is_rendered_and_harmless(piece: str) -> None:
    _assert_harmless(piece * (MAX_README // len(piece)))
