"""orgs, members, projects, keys, access, audit: who may do what, from the command line."""

import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from freesolo.domain.roles import Role
from freesolo.schemas.accounts import USER_SCOPES
from hub_server.accounts.service import KeyPlan
from tests.component.cli.conftest import Freesolo
from tests.component.cli.consumers import Publish
from tests.factories import make_environment
from tests.hubs import LiveHub, make_person_key

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "organizations-and-keys.md"
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def ada(with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use a key of a person who owns `acme` and is a reader of `local`."""
    orgs = {"acme": Role.OWNER, "local": Role.READER}
    key = make_person_key(with_hub.app, "ada", orgs, KeyPlan("laptop", USER_SCOPES))
    monkeypatch.setenv("FREESOLO_API_KEY", key)
    return key


@pytest.fixture
def agree(publish: Publish, tmp_path: Path) -> str:
    """Publish an environment and return its name."""
    publish(make_environment(tmp_path / "agree"))
    return "local/agree"


def test_the_guide_can_be_followed_from_top_to_bottom(
    freesolo: Freesolo, with_hub: LiveHub, publish: Publish, tmp_path: Path
) -> None:
    publish(make_environment(tmp_path / "dates", name="dates"))
    lines = "".join(BLOCK.findall(GUIDE.read_text())).splitlines()
    assert len(lines) > 20
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "freesolo":
            result = freesolo(*arguments)
            assert result.code == 0, f"{line}\n{result.err}"
        else:
            subprocess.run(
                [sys.executable, *arguments],
                env={"FREESOLO_SERVER_DATA_DIR": str(with_hub.data_dir)},
                check=True,
            )


def test_people_are_let_in_given_a_key_and_taken_out(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = freesolo("members", "add", "bob", "--role", "admin", "--json")
    assert (added.document["handle"], added.document["role"]) == ("bob", "admin")
    key = freesolo("keys", "create", "bobs", "--user", "bob", "--json").document["api_key"]
    monkeypatch.setenv("FREESOLO_API_KEY", key)
    who = freesolo("whoami", "--json").document
    assert (who["user"], who["role"], who["org"]) == ("bob", "admin", "local")
    monkeypatch.setenv("FREESOLO_API_KEY", with_hub.user_key)
    assert freesolo("members", "set-role", "bob", "reader", "--json").document["role"] == "reader"
    assert freesolo("members", "remove", "bob", "--yes").code == 0
    assert freesolo("members", "list", "--json").document == {"members": []}
    monkeypatch.setenv("FREESOLO_API_KEY", key)
    assert freesolo("whoami", "--json").code == 5


def test_a_key_of_several_orgs_acts_where_it_is_told_to(
    freesolo: Freesolo, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaid = freesolo("whoami", "--json")
    assert unsaid.code == 2
    assert "--org" in unsaid.error["hint"]
    assert freesolo("--org", "acme", "whoami", "--json").document["role"] == "owner"
    monkeypatch.setenv("FREESOLO_ORG", "local")
    assert freesolo("whoami", "--json").document["role"] == "reader"
    assert freesolo("--org", "acme", "whoami", "--json").document["org"] == "acme"
    assert freesolo("--org", "nothing", "whoami", "--json").code == 5
    assert freesolo("--org", "no/org", "whoami", "--json").code == 2


def test_orgs_are_made_and_listed_without_naming_one(freesolo: Freesolo, ada: str) -> None:
    assert freesolo("orgs", "create", "initech", "--json").document["role"] == "owner"
    listed = freesolo("orgs", "list", "--json").document["orgs"]
    assert [org["slug"] for org in listed] == ["acme", "initech", "local"]
    assert freesolo("orgs", "show", "initech", "--json").document["members"] == 1
    assert freesolo("orgs", "create", "Initech", "--json").code == 4


def test_a_key_is_printed_once_and_told_by_its_beginning(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    made = freesolo("keys", "create", "ci", "--expires", "30d", "--env", "local/*")
    secret = made.out.strip()
    assert secret.startswith("fslo_")
    assert secret not in made.err
    listed = freesolo("keys", "list")
    assert secret[:9] in listed.out
    assert secret not in listed.out
    (key,) = (
        key for key in freesolo("keys", "list", "--json").document["keys"] if key["name"] == "ci"
    )
    expires = datetime.fromisoformat(key["expires_at"])
    assert timedelta(days=29) < expires - datetime.now(UTC) <= timedelta(days=30)
    assert key["patterns"] == ["local/*"]


def test_a_key_is_limited_when_it_is_made_and_later(freesolo: Freesolo, with_hub: LiveHub) -> None:
    made = freesolo("keys", "create", "ci", "--rpm", 60, "--tpm", 9000, "--json").document
    assert made["limits"] == {"requests_per_minute": 60, "tokens_per_minute": 9000}
    assert "60 rpm, 9000 tpm" in " ".join(freesolo("keys", "list").out.split())
    limited = freesolo("keys", "limit", "ci", "--rpm", 5, "--json").document
    assert limited["limits"] == {"requests_per_minute": 5, "tokens_per_minute": None}
    assert "no limit of its own" in freesolo("keys", "limit", "ci").out
    assert freesolo("keys", "limit", "ci", "--rpm", 0).code == 2
    assert freesolo("keys", "limit", "nobody", "--rpm", 5).code == 3


def test_a_key_is_revoked_by_its_id_its_beginning_or_its_name(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    for by in ("id", "prefix", "name"):
        made = freesolo("keys", "create", f"old-{by}", "--json").document
        assert freesolo("keys", "revoke", made[by], "--yes").code == 0
        assert freesolo("keys", "revoke", made[by], "--yes", "--json").code == 3
        assert f"old-{by} (revoked)" in freesolo("keys", "list", "--all").out


def test_a_name_of_two_keys_revokes_neither(freesolo: Freesolo, with_hub: LiveHub) -> None:
    for _ in range(2):
        freesolo("keys", "create", "twin")
    refusal = freesolo("keys", "revoke", "twin", "--yes", "--json")
    assert refusal.code == 2
    assert "names 2 keys" in refusal.error["message"]


def test_what_cannot_be_is_refused_with_its_exit_code(
    freesolo: Freesolo, with_hub: LiveHub
) -> None:
    for line, code in (
        ("keys create x --expires soon", 2),
        ("keys create x --expires 0d", 2),
        ("keys create x --env 'a b'", 2),
        ("keys create x --scope everything", 2),
        ("keys create x --user nobody", 3),
        ("keys create x --all-orgs", 5),
        (f"keys create {'x' * 101}", 2),
        ("members set-role nobody admin", 3),
        ("members add ../x", 2),
        ("orgs show nothing", 3),
        ("orgs create acme", 5),
        ("access show local/nothing", 3),
        ("access grant local/agree", 2),
        ("access grant local/agree --user a --to-org b", 2),
    ):
        refusal = freesolo(*shlex.split(line), "--json")
        assert refusal.code == code, line
        assert refusal.error["message"]


def test_what_cannot_be_undone_is_not_done_unasked(freesolo: Freesolo, agree: str) -> None:
    freesolo("members", "add", "bob")
    for line in ("members remove bob", "keys revoke tests", f"access visibility {agree} public"):
        refusal = freesolo(*shlex.split(line), "--json")
        assert refusal.code == 2, line
        assert "--yes" in refusal.error["hint"]
    assert [each["handle"] for each in freesolo("members", "list", "--json").document["members"]]
    assert freesolo("access", "show", agree, "--json").document["visibility"] == "private"


def test_an_environment_is_shared_and_taken_back(freesolo: Freesolo, agree: str) -> None:
    freesolo("members", "add", "bob")
    granted = freesolo("access", "grant", agree, "--user", "bob", "--role", "writer", "--json")
    assert [(user["handle"], user["role"]) for user in granted.document["users"]] == [
        ("bob", "writer")
    ]
    public = freesolo("access", "visibility", agree, "public", "--yes", "--json")
    assert public.document["visibility"] == "public"
    assert freesolo("access", "revoke", agree, "--user", "bob", "--json").document["users"] == []
    assert "is public" in freesolo("access", "show", agree).out


def test_the_audit_tells_what_was_done(freesolo: Freesolo, agree: str) -> None:
    freesolo("projects", "create", "refunds")
    assert "refunds" in freesolo("projects", "list").out
    events = freesolo("audit", "--json").document["events"]
    assert [event["action"] for event in events] == ["project.created", "version.published"]
    assert [
        event["target"]
        for event in freesolo("audit", "--action", "project", "--json").document["events"]
    ] == ["refunds"]
    assert "project.created" in freesolo("audit", "--limit", "1").out


def test_login_says_as_whom(freesolo: Freesolo, ada: str, with_hub: LiveHub) -> None:
    told = freesolo("--org", "acme", "login", "--hub-url", with_hub.url)
    assert "ada, owner of acme" in told.out
