"""The hub's calls about the secrets of projects."""

from uuid import UUID

from pydantic import SecretStr

from freesolo.client.connection import HubConnection
from freesolo.domain.secrets import check_secret_name, check_secret_value
from freesolo.schemas.secrets import NewSecret, SecretList, StoredSecret


class SecretCalls(HubConnection):
    """What is asked about secrets. Without `project` it is the org's default one."""

    def secrets(self, project: UUID | None = None) -> list[StoredSecret]:
        """Return the names of a project's secrets, and who set each when."""
        return self._get(SecretList, "/v1/secrets", project=project).secrets

    def set_secret(self, name: str, value: str, project: UUID | None = None) -> StoredSecret:
        """Store a secret for the runs of a project, in place of the one with this name."""
        body = NewSecret(value=SecretStr(check_secret_value(value)))
        response = self._transport.request(
            "PUT",
            f"/v1/secrets/{check_secret_name(name)}",
            json_body=body.model_dump(mode="json"),
            params={"project": project},
        )
        return self._read(StoredSecret, response)

    def remove_secret(self, name: str, project: UUID | None = None) -> None:
        """Remove a project's secret."""
        self._transport.request(
            "DELETE", f"/v1/secrets/{check_secret_name(name)}", params={"project": project}
        )
