"""The platform that this user is logged in to, for a client that was told of no other."""

from freesolo.client.hub import HubClient
from freesolo.config import ClientSettings, CredentialStore, connection


def gateway(api_key: str | None) -> tuple[str, str | None]:
    """Return the address of the platform's gateway and the key to use there: `api_key` or its own.

    This asks the hub, which names the gateway. Raise a `FreesoloError` if no platform is known or
    it does not answer.
    """
    settings = ClientSettings()
    chosen = connection(settings, CredentialStore(settings.home_dir))
    key = api_key or chosen.api_key
    with HubClient(chosen.hub_url, key, org=chosen.org) as hub:
        return hub.whoami().gateway_url, key
