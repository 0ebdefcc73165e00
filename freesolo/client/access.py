"""The hub's calls about access to one environment."""

from freesolo.client.connection import HubConnection, path_part
from freesolo.domain.refs import EnvRef
from freesolo.domain.roles import EnvironmentRole, Visibility
from freesolo.schemas.access import Access, NewGrant, NewVisibility


class AccessCalls(HubConnection):
    """What is asked about who may read an environment, publish to it, decide about it."""

    def access(self, ref: EnvRef) -> Access:
        """Return an environment's visibility and the roles that were given on it."""
        return self._get(Access, f"/v1/envs/{ref.full_name}/access")

    def set_visibility(self, ref: EnvRef, visibility: Visibility) -> Access:
        """Say who may read an environment besides its org."""
        path = f"/v1/envs/{ref.full_name}/visibility"
        return self._send("PUT", path, NewVisibility(visibility=visibility), Access)

    def grant_to_user(self, ref: EnvRef, handle: str, role: EnvironmentRole) -> Access:
        """Give a person a role on an environment."""
        path = f"/v1/envs/{ref.full_name}/access/users/{path_part(handle)}"
        return self._send("PUT", path, NewGrant(role=role), Access)

    def grant_to_org(self, ref: EnvRef, slug: str, role: EnvironmentRole) -> Access:
        """Give everybody in another org a role on an environment."""
        path = f"/v1/envs/{ref.full_name}/access/orgs/{path_part(slug)}"
        return self._send("PUT", path, NewGrant(role=role), Access)

    def revoke_from_user(self, ref: EnvRef, handle: str) -> None:
        """Take back what a person was given on an environment."""
        self._transport.request(
            "DELETE", f"/v1/envs/{ref.full_name}/access/users/{path_part(handle)}"
        )

    def revoke_from_org(self, ref: EnvRef, slug: str) -> None:
        """Take back what an org was given on an environment."""
        self._transport.request("DELETE", f"/v1/envs/{ref.full_name}/access/orgs/{path_part(slug)}")
