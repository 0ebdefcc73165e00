"""yank, tag, deprecate, archive, delete, rename, transfer, promote, and how it is shown."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freesolo.client.hub import HubClient
from freesolo.domain.refs import EnvRef
from freesolo.schemas.environments import PublishedVersion
from tests.component.cli.conftest import Freesolo
from tests.factories import make_environment, pack_folder
from tests.hubs import LiveHub, make_keys

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "versions-and-channels.md"

Publish = Callable[..., PublishedVersion]


@pytest.fixture
def publish(with_hub: LiveHub, tmp_path: Path) -> Iterator[Publish]:
    """Publish versions of `local/agree` without the checks that the command makes."""
    with HubClient(with_hub.url, with_hub.user_key) as hub:

        def call(version: str, *, name: str = "agree", stage: bool = False) -> PublishedVersion:
            folder = make_environment(tmp_path / f"{name}-{version}", name=name, version=version)
            ref = EnvRef("local", name)
            return hub.publish(ref, version, pack_folder(folder), stage=stage)

        yield call


def test_info_shows_what_a_reference_means(freesolo: Freesolo, publish: Publish) -> None:
    published = publish("1.0")
    publish("1.1")
    freesolo("tag", "local/agree@1.0", "stable")
    document = freesolo("info", "local/agree@stable", "--json").document
    assert document["tree_digest"] == published.tree_digest
    assert (document["ref"], document["version"], document["yanked"]) == (
        "local/agree",
        "1.0",
        False,
    )
    assert (document["channels"], document["visibility"]) == (["stable"], "private")
    assert document["summary"] == "Agree."
    assert (document["requires_python"], document["network"]) == (">=3.11", False)
    assert document["deprecated"] is False
    shown = freesolo("info", "local/agree@stable").out
    assert "the newest is 1.1" in shown
    assert published.tree_digest in shown


def test_versions_lists_each_with_what_became_of_it(freesolo: Freesolo, publish: Publish) -> None:
    for version in ("1.0", "1.1"):
        publish(version)
    publish("2.0", stage=True)
    freesolo("yank", "local/agree@1.0", "--reason", "It scores wrongly")
    freesolo("tag", "local/agree@1.1", "stable")
    document = freesolo("versions", "local/agree", "--json").document
    assert [
        (each["version"], each["state"], each["yanked"], each["channels"])
        for each in document["versions"]
    ] == [
        ("2.0", "staged", False, []),
        ("1.1", "published", False, ["stable"]),
        ("1.0", "published", True, []),
    ]
    assert "yanked: It scores wrongly" in freesolo("versions", "local/agree").out


def test_whoever_pulls_a_yanked_version_is_warned(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0")
    yanked = freesolo("yank", "local/agree@1.0", "--reason", "It scores wrongly", "--json")
    assert (yanked.code, yanked.document["yanked"]) == (0, True)
    pulled = freesolo("pull", "local/agree@1.0", "-o", "copy")
    assert pulled.code == 0
    assert "local/agree 1.0 was yanked: It scores wrongly" in pulled.err
    assert freesolo("pull", "local/agree", "-o", "other").code == 3
    assert freesolo("unyank", "local/agree@1.0", "--json").document["yanked"] is False
    assert freesolo("pull", "local/agree", "-o", "other").code == 0


@pytest.mark.parametrize(
    "command", [("yank", "--reason", "x"), ("unyank",), ("promote",), ("delete", "--yes")]
)
def test_a_range_is_not_one_version(
    freesolo: Freesolo, with_hub: LiveHub, command: tuple[str, ...]
) -> None:
    refusal = freesolo(command[0], "local/agree@>=1", *command[1:], "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_ref")
    assert "freesolo versions local/agree" in refusal.error["hint"]


@pytest.mark.parametrize("command", [("archive",), ("restore",), ("rename", "b"), ("deprecate",)])
def test_a_version_is_not_an_environment(
    freesolo: Freesolo, with_hub: LiveHub, command: tuple[str, ...]
) -> None:
    refusal = freesolo(command[0], "local/agree@1.0", *command[1:], "--json")
    assert (refusal.code, refusal.error["hint"]) == (2, "Write `local/agree`.")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("yank", "local/agree@1.0", "--reason", ""), "reason"),
        (("yank", "local/agree@1.0", "--reason", "x" * 10_000), "reason"),
        (("deprecate", "local/agree", "x" * 10_000), "message"),
    ],
)
def test_what_no_hub_would_take_is_named(
    freesolo: Freesolo, with_hub: LiveHub, command: tuple[str, ...], said: str
) -> None:
    refusal = freesolo(*command, "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_input")
    assert refusal.error["message"].startswith(f"{said}: ")
    assert len(refusal.error["message"]) < 300


def test_a_channel_is_moved_listed_and_removed(freesolo: Freesolo, publish: Publish) -> None:
    for version in ("1.0", "1.1"):
        publish(version)
    freesolo("tag", "local/agree@1.0", "stable", "--expect", "")
    moved = freesolo("tag", "local/agree@>=1", "stable", "--expect", "1.0", "--json").document
    assert (moved["selector"], moved["version"]) == (">=1", "1.1")
    assert "stands at" in freesolo("tag", "--list", "local/agree").out
    listed = freesolo("tag", "--list", "local/agree", "--json").document["channels"]
    assert [(each["name"], each["version"]) for each in listed] == [("stable", "1.1")]
    lost = freesolo("tag", "local/agree@1.0", "stable", "--expect", "1.1", "--json")
    assert (lost.code, lost.error["code"]) == (4, "channel_moved_conflict")
    assert freesolo("tag", "--remove", "local/agree", "stable").code == 0
    history = freesolo("tag", "--history", "local/agree", "stable", "--json").document
    assert history["channel"] is None
    assert [move["selector"] for move in history["moves"]] == [None, ">=1", "1.0"]
    assert "(removed)" in freesolo("tag", "--history", "local/agree", "stable").out


@pytest.mark.parametrize("name", ["latest", "1.0", "Stable"])
def test_a_channel_has_a_name_that_means_nothing_else(
    freesolo: Freesolo, publish: Publish, name: str
) -> None:
    publish("1.0")
    refusal = freesolo("tag", "local/agree@1.0", name, "--json")
    assert (refusal.code, refusal.error["code"]) == (2, "invalid_ref")


@pytest.mark.parametrize(
    "options", [(), ("--list", "--remove", "stable"), ("--remove",), ("--history",)]
)
def test_tag_is_told_what_to_do(
    freesolo: Freesolo, with_hub: LiveHub, options: tuple[str, ...]
) -> None:
    assert freesolo("tag", "local/agree", *options, "--json").code == 2


def test_a_deprecated_environment_is_resolved_with_a_warning(
    freesolo: Freesolo, publish: Publish
) -> None:
    publish("1.0")
    freesolo("deprecate", "local/agree", "It is too easy", "--json")
    shown = freesolo("info", "local/agree", "--json").document
    assert (shown["deprecated"], shown["deprecation"]) == (True, "It is too easy")
    assert "is deprecated: It is too easy" in freesolo("pull", "local/agree", "-o", "copy").err
    assert "is not deprecated" in freesolo("deprecate", "local/agree", "--undo").out


def test_an_archived_environment_refuses_versions(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0")
    assert freesolo("archive", "local/agree", "--json").document["archived"]
    assert "takes no new versions" in freesolo("info", "local/agree").out
    assert not freesolo("unarchive", "local/agree", "--json").document["archived"]


def test_deleting_asks_and_an_environment_comes_back(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0")
    unasked = freesolo("delete", "local/agree", "--json")
    assert (unasked.code, "--yes" in unasked.error["hint"]) == (2, True)
    assert freesolo("delete", "local/agree", "--yes", "--json").document["deleted_at"]
    assert freesolo("info", "local/agree").code == 3
    assert freesolo("restore", "local/agree", "--json").document["deleted_at"] is None
    assert freesolo("info", "local/agree").code == 0


def test_a_deleted_version_is_told_as_such(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0")
    assert freesolo("delete", "local/agree@1.0", "--yes").code == 0
    refusal = freesolo("info", "local/agree@1.0", "--json")
    assert (refusal.code, refusal.error["code"]) == (4, "version_tombstoned")


def test_an_old_name_leads_to_the_new_one(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0")
    assert freesolo("rename", "local/agree", "assent", "--json").document["ref"] == "local/assent"
    assert freesolo("info", "local/agree", "--json").document["ref"] == "local/assent"


def test_an_environment_is_given_to_who_accepts_it(
    freesolo: Freesolo,
    publish: Publish,
    with_hub: LiveHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish("1.0")
    taker = make_keys(with_hub.app, org="acme").user
    offered = freesolo("transfer", "local/agree", "acme", "--yes", "--json").document
    assert (offered["ref"], offered["to_org"]) == ("local/agree", "acme")
    assert freesolo("transfer", "local/agree", "--decline").code == 0
    freesolo("transfer", "local/agree", "acme", "--yes")
    assert freesolo("transfer", "--list", "--json").document == {"transfers": []}
    monkeypatch.setenv("FREESOLO_API_KEY", taker)
    (listed,) = freesolo("transfer", "--list", "--json").document["transfers"]
    assert (listed["ref"], listed["to_org"]) == ("local/agree", "acme")
    accepted = freesolo("transfer", "local/agree", "--accept", "--json")
    assert accepted.document == {"ref": "acme/agree"}
    assert freesolo("info", "local/agree", "--json").document["ref"] == "acme/agree"
    assert freesolo("transfer", "acme/agree", "--accept", "--decline").code == 2
    assert freesolo("transfer", "acme/agree", "--list").code == 2
    assert freesolo("transfer").code == 2


def test_a_staged_version_is_promoted(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0", stage=True)
    assert freesolo("info", "local/agree").code == 3
    assert "staged" in freesolo("info", "local/agree@1.0").out
    assert freesolo("promote", "local/agree@1.0", "--json").document["state"] == "published"
    assert freesolo("info", "local/agree", "--json").document["version"] == "1.0"


def test_whoever_trains_on_a_yanked_version_is_warned(freesolo: Freesolo, publish: Publish) -> None:
    publish("1.0")
    freesolo("yank", "local/agree@1.0", "--reason", "It scores wrongly")
    Path("sft.toml").write_text(
        'model = "HuggingFaceTB/SmolLM2-135M-Instruct"\nalgorithm = "sft"\n'
        '[environment]\nid = "local/agree@1.0"\n[train]\nmax_steps = 1\n'
    )
    planned = freesolo("train", "sft.toml", "--dry-run")
    assert planned.code == 0
    assert "local/agree 1.0 was yanked: It scores wrongly" in planned.err


def test_the_guide_does_what_it_says(freesolo: Freesolo, publish: Publish) -> None:
    for version in ("1.0", "1.1", "2.0rc1"):
        publish(version)
    publish("1.2", stage=True)
    publish("1.0", name="hard-math")
    guide = GUIDE.read_text().replace("acme/hard-math", "local/hard-math")
    blocks = re.findall(
        r"^```\n(.*?)^```", guide.replace("acme/math", "local/agree"), re.MULTILINE | re.DOTALL
    )
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) > 20
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "freesolo"
        ended = freesolo(*arguments)
        assert ended.code == 0, f"{command}: {ended.err}"
    assert freesolo("info", "local/agree", "--json").document["ref"] == "local/arithmetic"
