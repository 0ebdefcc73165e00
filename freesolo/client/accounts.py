"""The hub's calls about orgs, people, projects, keys and the audit."""

from itertools import islice
from uuid import UUID

from freesolo.client.connection import HubConnection, path_part
from freesolo.domain.rates import KeyLimits
from freesolo.domain.roles import Role
from freesolo.schemas.accounts import (
    CreatedKey,
    Key,
    KeyList,
    MemberList,
    NewKey,
    NewMember,
    NewOrg,
    NewProject,
    NewRole,
    Org,
    OrgDetail,
    OrgList,
    OrgMember,
    Project,
    ProjectList,
    WhoAmI,
)
from freesolo.schemas.audit import AuditEntry, AuditPage


class AccountCalls(HubConnection):
    """What is asked about who may do what."""

    def whoami(self) -> WhoAmI:
        """Return whom the key speaks for, and the gateway's address."""
        return self._get(WhoAmI, "/v1/whoami")

    def orgs(self) -> list[Org]:
        """Return the orgs that the key may act in."""
        return self._get(OrgList, "/v1/orgs").orgs

    def org(self, slug: str) -> OrgDetail:
        """Return one of the key's orgs, with what it keeps."""
        return self._get(OrgDetail, f"/v1/orgs/{path_part(slug)}")

    def create_org(self, slug: str) -> Org:
        """Make an org, owned by the person whose key this is."""
        return self._send("POST", "/v1/orgs", NewOrg(slug=slug), Org)

    def members(self) -> list[OrgMember]:
        """Return who belongs to the org."""
        return self._get(MemberList, "/v1/members").members

    def add_member(self, handle: str, role: Role) -> OrgMember:
        """Let a person into the org."""
        return self._send("POST", "/v1/members", NewMember(handle=handle, role=role), OrgMember)

    def set_role(self, handle: str, role: Role) -> OrgMember:
        """Give a person of the org another role."""
        path = f"/v1/members/{path_part(handle)}"
        return self._send("PUT", path, NewRole(role=role), OrgMember)

    def remove_member(self, handle: str) -> None:
        """Take a person out of the org; their keys to it stop working."""
        self._transport.request("DELETE", f"/v1/members/{path_part(handle)}")

    def projects(self) -> list[Project]:
        """Return the org's projects."""
        return self._get(ProjectList, "/v1/projects").projects

    def create_project(self, slug: str) -> Project:
        """Make a project; one that exists is returned."""
        return self._send("POST", "/v1/projects", NewProject(slug=slug), Project)

    def keys(self, *, everything: bool = False) -> list[Key]:
        """Return the keys that this one may see; with `everything`, revoked ones too."""
        return self._get(KeyList, "/v1/keys", all="true" if everything else None).keys

    def create_key(self, new: NewKey) -> CreatedKey:
        """Make a key, which can do no more than this one."""
        return self._send("POST", "/v1/keys", new, CreatedKey)

    def limit_key(self, key_id: UUID, limits: KeyLimits) -> Key:
        """Say how much a key may ask of the gateway in a minute."""
        return self._send("PUT", f"/v1/keys/{key_id}/limits", limits, Key)

    def revoke_key(self, key_id: UUID) -> None:
        """Make a key useless."""
        self._transport.request("DELETE", f"/v1/keys/{key_id}")

    def audit(
        self,
        *,
        limit: int,
        action: str | None = None,
        actor: str | None = None,
        target: str | None = None,
    ) -> list[AuditEntry]:
        """Return the newest changes that were made in the org, at most `limit`."""
        wanted = {"action": action, "actor": actor, "target": target}
        pages = self._pages(AuditPage, "/v1/audit", **wanted, limit=min(limit, 100))
        return list(islice((event for page in pages for event in page.events), limit))
