"""The hub's calls about orgs, people, keys and the audit."""

from freesolo.client.connection import HubConnection
from freesolo.schemas.accounts import WhoAmI


class AccountCalls(HubConnection):
    """What is asked about who may do what."""

    def whoami(self) -> WhoAmI:
        """Return the org and scopes of the key, and the gateway's address."""
        return self._get(WhoAmI, "/v1/whoami")
