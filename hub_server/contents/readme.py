"""READMEs as HTML that is safe to show: Markdown by `markdown-it-py`, then cleaned by `nh3`.

Nothing that a stranger wrote can run, style the page around it, send a form or fetch anything from
elsewhere. What the page shows is a README's text, its links, and images of the package itself.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

# Characters; what follows them is left out, and the page says so. Both libraries take time that
# grows with the square of some inputs: this keeps the worst of them near a second.
MAX_README = 100_000
_CUT = "\n\n*This README is longer than what is shown here.*\n"
# Keeps a README from naming what the page around it names.
_ID_PREFIX = "readme-"
_NOT_SLUG = re.compile(r"\W+")

_TAGS = {
    *(
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "code",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
    ),
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "pre"),
    *("s", "samp", "span", "strong", "sub", "summary", "sup"),
    *("table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "img": {"src", "alt", "title"},
    "ol": {"start"},
    **{f"h{level}": {"id"} for level in range(1, 7)},
}
_SCHEMES = {"http", "https", "mailto"}


def render_readme(markdown: str) -> str:
    """Return a README as HTML that may stand in any page of ours.

    It is CommonMark with tables. Headings get ids; an image from elsewhere becomes a link to it.
    """
    shown = markdown if len(markdown) <= MAX_README else markdown[:MAX_README] + _CUT
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(shown)
    _name_headings(tokens)
    for token in tokens:
        token.children = token.children and list(_without_foreign_images(token.children))
    return nh3.clean(
        parser.renderer.render(tokens, parser.options, {}),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        clean_content_tags={"script", "style"},
        attribute_filter=_checked_address,
        url_schemes=_SCHEMES,
        link_rel="nofollow noopener",
        id_prefix=_ID_PREFIX,
    )


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give each heading an id made of its words, numbered if another has the same."""
    taken: Counter[str] = Counter()
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            slug = _NOT_SLUG.sub("-", content.content.casefold()).strip("-") or "section"
            heading.attrSet("id", f"{slug}-{taken[slug]}" if taken[slug] else slug)
            taken[slug] += 1


def _without_foreign_images(tokens: Iterable[Token]) -> Iterator[Token]:
    """Put a link in the place of each image from elsewhere; within a link, its text."""
    links = 0
    for token in tokens:
        links += token.nesting if token.type.startswith("link_") else 0
        source = str(token.attrGet("src") or "")
        if token.type != "image" or _is_in_package(source):
            yield token
            continue
        text = Token("text", "", 0, content=token.content or source)
        if links:
            yield text
        else:
            yield Token("link_open", "a", 1, attrs={"href": source})
            yield text
            yield Token("link_close", "a", -1)


def _checked_address(tag: str, name: str, value: str) -> str | None:
    """Return what an attribute may be: no foreign image, and links within the page as its ids are."""
    if (tag, name) == ("img", "src"):
        return value if _is_in_package(value) else None
    if (tag, name) == ("a", "href") and value.startswith("#"):
        return f"#{_ID_PREFIX}{value[1:].casefold()}"
    return value


def _is_in_package(address: str) -> bool:
    """Say whether an address can only be that of a file beside the README, or below it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # As browsers read it: they decode dots, and take a backslash for a slash.
    path = unquote(parts.path).replace("\\", "/")
    absolute = parts.scheme or parts.netloc or path.startswith("/")
    return not absolute and ".." not in path.split("/")
