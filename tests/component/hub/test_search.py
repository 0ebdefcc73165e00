"""Search finds what a caller may read by any of its words, and nothing else."""

from typing import Any

import pytest

from freesolo.domain.roles import Visibility
from hub_server.models import Environment
from tests.component.hub.harness import HubUnderTest
from tests.factories import content_digest, make_environment, pack_folder

MULTI_TURN = """from freesolo.environments import (
    EnvironmentMultiTurn,
)


class Chess(EnvironmentMultiTurn):
    pass
"""

QUERIES = [
    '"',
    "'",
    'chess" OR name:*',
    "AND OR NOT NEAR(",
    "chess & | ! <-> :*",
    "*",
    "{name} : x",
    "-chess",
    "♟️ 🎉",
    "\u0000 chess",
    "\\",
    "%_",
    "1e400 0x1F 3.14 -5",
    "ﬀ İ ß ½ ② Ⅷ",
    "x" * 10_000,
    "x " * 5_000,
    "कि 漢字 مرحبا",
]
# What a basic string of TOML cannot hold as it is.
UNWRITABLE = str.maketrans("", "", '\\"\0')


def publish(
    hub: HubUnderTest,
    name: str,
    *,
    version: str = "0.1.0",
    summary: str = "",
    tags: tuple[str, ...] = (),
    license: str = "",
    readme: str = "",
    source: str | None = None,
) -> None:
    """Publish an environment that says this about itself."""
    folder = make_environment(hub.path / f"{name}-{version}", name=name, version=version)
    (folder / "environment.toml").write_text(
        f'[environment]\nname = "{name}"\nversion = "{version}"\nsummary = "{summary}"\n'
        f'license = "{license}"\ntags = {list(tags)}\n'
    )
    (folder / "README.md").write_text(readme)
    if source is not None:
        (folder / "environment.py").write_text(source)
    archive = pack_folder(folder)
    response = hub.user.put(
        f"/v1/envs/local/{name}/versions/{version}",
        content=archive.path.read_bytes(),
        headers={"Content-Digest": content_digest(archive.archive_digest)},
    )
    assert response.is_success, response.text


def found(
    hub: HubUnderTest, query: str = "", *, key: str | None = "", **filters: str | list[str]
) -> list[str]:
    """Return the refs that a search finds; `key` is the user's by default, None for none."""
    client = hub.user if key == "" else hub.client(key)
    response = client.get("/v1/search", params={"q": query, **filters})
    assert response.status_code == 200, response.text
    return [result["ref"] for result in response.json()["results"]]


def test_words_of_the_name_the_summary_the_tags_and_the_readme_find(any_hub: HubUnderTest) -> None:
    publish(any_hub, "other")
    publish(
        any_hub,
        "refund-agent",
        summary="Refund the right orders.",
        tags=("tool-use",),
        readme="# Quick start\n\nNot so naïve.",
    )
    queries = (
        "refund",
        "REFUND agent",
        "agent ref",
        "orders",
        "tool-use",
        "naïve",
        "naive",
        "Quick",
    )
    missed = [query for query in queries if found(any_hub, query) != ["local/refund-agent"]]
    assert missed == []
    assert len(found(any_hub, "local")) == 2


def test_every_word_must_be_there_and_only_the_last_may_be_cut_off(any_hub: HubUnderTest) -> None:
    publish(any_hub, "refund-agent")
    assert found(any_hub, "refund ag") == ["local/refund-agent"]
    assert found(any_hub, "ref agent") == []
    assert found(any_hub, "refund dragon") == []


def test_the_place_of_the_word_decides_the_order(any_hub: HubUnderTest) -> None:
    publish(any_hub, "first", readme="About chess.")
    publish(any_hub, "second", summary="Play chess.")
    publish(any_hub, "chess-openings")
    publish(any_hub, "chess")
    assert found(any_hub, "chess") == [
        "local/chess",
        "local/chess-openings",
        "local/second",
        "local/first",
    ]


def test_downloads_decide_between_equals(hub: HubUnderTest) -> None:
    for name in ("chess-a", "chess-b", "chess-c"):
        publish(hub, name)
    with hub.resources.sessions.begin() as session:
        session.query(Environment).filter_by(name="chess-b").update({"downloads": 1000})
    assert found(hub, "chess")[0] == "local/chess-b"


@pytest.mark.parametrize(
    "filters",
    [
        {"tag": "Games"},
        {"tag": ["games", "hard"]},
        {"license": "mit"},
        {"org": "LOCAL", "license": "mit"},
        {"turn_type": "multi-turn"},
    ],
)
def test_filters_narrow_what_is_found(any_hub: HubUnderTest, filters: dict[str, Any]) -> None:
    publish(any_hub, "chess", tags=("games", "hard"), license="MIT", source=MULTI_TURN)
    publish(any_hub, "go", tags=("other",), license="BSD")
    assert found(any_hub, **filters) == ["local/chess"]


def test_an_environment_turns_as_its_newest_release_does(any_hub: HubUnderTest) -> None:
    publish(any_hub, "chess", source=MULTI_TURN)
    publish(any_hub, "chess", version="0.0.9")
    assert found(any_hub, turn_type="multi-turn") == ["local/chess"]
    publish(any_hub, "chess", version="0.2.0")
    assert found(any_hub, turn_type="single-turn") == ["local/chess"]
    yank = "/v1/envs/local/chess/versions/0.2.0/yank"
    assert any_hub.user.put(yank, json={"reason": "wrong"}).status_code == 200
    assert found(any_hub, turn_type="multi-turn") == ["local/chess"]


def test_filters_that_do_not_fit_find_nothing(hub: HubUnderTest) -> None:
    publish(hub, "chess", tags=("games",))
    assert found(hub, tag=["games", "hard"]) == []
    assert found(hub, org="nobody") == []
    assert found(hub, license="' OR 1=1") == []


def test_any_text_is_a_query(any_hub: HubUnderTest) -> None:
    publish(any_hub, "chess", summary=" ".join(QUERIES)[:400].translate(UNWRITABLE))
    for query in QUERIES:
        found(any_hub, query)
        found(any_hub, tag=query, license=query, org=query)


def test_what_may_not_be_read_is_not_found(any_hub: HubUnderTest) -> None:
    publish(any_hub, "chess")
    stranger = any_hub.make_member("other")
    assert (found(any_hub, "chess", key=stranger), found(any_hub, "chess", key=None)) == ([], [])
    assert found(any_hub, "", key=stranger) == []


@pytest.mark.parametrize(
    ("visibility", "strangers", "nobody"),
    [(Visibility.INTERNAL, 1, 0), (Visibility.PUBLIC, 1, 1)],
)
def test_opening_an_environment_lets_others_find_it(
    any_hub: HubUnderTest, visibility: Visibility, strangers: int, nobody: int
) -> None:
    publish(any_hub, "chess")
    answer = any_hub.user.put("/v1/envs/local/chess/visibility", json={"visibility": visibility})
    assert answer.is_success, answer.text
    stranger = any_hub.make_member("other")
    assert len(found(any_hub, "chess", key=stranger)) == strangers
    assert len(found(any_hub, "chess", key=None)) == nobody


def test_pages_follow_each_other_without_a_gap(hub: HubUnderTest) -> None:
    for number in range(5):
        publish(hub, f"chess-{number}")
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = hub.user.get(
            "/v1/search",
            params={"q": "chess", "limit": 2, **({"cursor": cursor} if cursor else {})},
        ).json()
        seen += [result["ref"] for result in page["results"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == [f"local/chess-{number}" for number in range(5)]
    assert cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "WyIxIl0", "WyItMSJd", "WyI5OTk5OSJd", "WyJ4Il0="])
def test_a_cursor_of_something_else_is_refused(hub: HubUnderTest, cursor: str) -> None:
    answer = hub.user.get("/v1/search", params={"q": "chess", "cursor": cursor})
    assert answer.status_code == 422


def test_a_new_version_is_found_by_its_own_words(hub: HubUnderTest) -> None:
    publish(hub, "chess", summary="Old words.")
    publish(hub, "chess", version="0.2.0", summary="New ones.")
    assert (found(hub, "old"), found(hub, "new")) == ([], ["local/chess"])


def test_an_older_version_that_comes_late_changes_nothing(hub: HubUnderTest) -> None:
    publish(hub, "chess", version="0.2.0", summary="Present.")
    publish(hub, "chess", version="0.1.1", summary="Past.")
    assert (found(hub, "past"), found(hub, "present")) == ([], ["local/chess"])
