"""The client's settings and the keys it keeps.

Settings come from the environment (`FREESOLO_HUB_URL`, `FREESOLO_API_KEY`, `FREESOLO_ORG`,
`FREESOLO_HOME`, `FREESOLO_CACHE_DIR`); what they leave open comes from `credentials.json` in the home folder, which
only its owner can read.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.errors import InvalidInput, Unauthorized

DEFAULT_HUB_PORT = 8420
DEFAULT_GATEWAY_PORT = 8421


class ClientSettings(BaseSettings):
    """What the command line reads from the environment."""

    model_config = SettingsConfigDict(env_prefix="FREESOLO_", frozen=True, env_ignore_empty=True)

    hub_url: str | None = Field(
        default=None, description="Address of the hub; overrides the one that `login` stored."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Key for the hub and the gateway; overrides the stored one."
    )
    org: str | None = Field(
        default=None, description="Org to act in, for a key that has several; `--org` overrides it."
    )
    home: Path = Field(
        default=Path("~/.freesolo"),
        description="Folder with the credentials and, unless told otherwise, the platform's data.",
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Folder for environments, their virtual environments and base models; "
        "`cache` in the home folder by default. It can be deleted at any time.",
    )

    @property
    def home_dir(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def cache(self) -> Path:
        """The cache folder as an absolute path."""
        return (self.cache_dir or self.home_dir / "cache").expanduser().resolve()

    @property
    def default_data_dir(self) -> Path:
        """Where `freesolo up` keeps a platform's data unless `--data-dir` says otherwise."""
        return self.home_dir / "data"


@dataclass(frozen=True)
class Profile:
    """One hub this user has a key for. `data_dir` is set if it runs on this machine, `org` is the
    one that the key acted in at `login`.
    """

    hub_url: str
    api_key: str
    data_dir: str | None = None
    org: str | None = None


class CredentialStore:
    """`credentials.json`: the profiles, the one that was used last first, and the hub in use.

    Several platforms of this machine may take turns at one address; each keeps its profile.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "credentials.json"

    def active(self) -> Profile | None:
        """Return the profile in use, or None before the first `login` or `up`."""
        return self.find(self._read()[0])

    def find(self, hub_url: str) -> Profile | None:
        """Return the profile that was used last for a hub."""
        profiles = self._read()[1]
        return next((profile for profile in profiles if profile.hub_url == hub_url), None)

    def find_platform(self, data_dir: Path) -> Profile | None:
        """Return the profile of the platform whose data lies in `data_dir`."""
        profiles = self._read()[1]
        return next((profile for profile in profiles if profile.data_dir == str(data_dir)), None)

    def save(self, profile: Profile) -> None:
        """Keep a profile and use it from now on; it replaces the one of the same platform or hub."""
        with self._locked():
            _, profiles = self._read()
            kept = [other for other in profiles if _owner(other) != _owner(profile)]
            self._write(profile.hub_url, [profile, *kept])

    def forget(self, hub_url: str | None) -> str | None:
        """Remove what is kept for a hub, by default the one in use; return which, None if nothing."""
        with self._locked():
            active, profiles = self._read()
            forgotten = hub_url.rstrip("/") if hub_url else active
            kept = [profile for profile in profiles if profile.hub_url != forgotten]
            self._write("" if active == forgotten else active, kept)
        return forgotten if len(kept) < len(profiles) else None

    def _locked(self) -> FileLock:
        """Keep two commands from writing over each other's profile."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self._path.with_suffix(".lock"))

    def _read(self) -> tuple[str, list[Profile]]:
        if not self._path.exists():
            return "", []
        try:
            document = json.loads(self._path.read_text())
            return document["active"], [Profile(**entry) for entry in document["profiles"]]
        except (ValueError, TypeError, KeyError):
            raise InvalidInput(
                f"{self._path} is damaged.",
                hint="Delete it; `freesolo login` or `freesolo up` writes it anew.",
            ) from None

    def _write(self, active: str, profiles: Sequence[Profile]) -> None:
        document = {"active": active, "profiles": [asdict(item) for item in profiles]}
        write_private(self._path, json.dumps(document, indent=2))


def _owner(profile: Profile) -> tuple[str, str]:
    return ("data", profile.data_dir) if profile.data_dir else ("hub", profile.hub_url)


@dataclass(frozen=True)
class Connection:
    """Where the hub is, the key to use there if there is one, and the org to act in if one is named."""

    hub_url: str
    api_key: str | None
    org: str | None = None


def connection(
    settings: ClientSettings, store: CredentialStore, *, to: str | None = None
) -> Connection:
    """Choose the hub and key: the environment first, then the stored profile.

    `to` is the address of another hub than the one in use. The environment's key and org are not
    for it. A hub that is named needs no key: what is public there can be read. Raise `Unauthorized`
    if nothing says which hub is meant.
    """
    active = store.active()
    in_use = settings.hub_url or (active.hub_url if active else None)
    in_use = (in_use or f"http://127.0.0.1:{DEFAULT_HUB_PORT}").rstrip("/")
    hub_url = to or in_use
    org = settings.org if hub_url == in_use else None
    if settings.api_key is not None and hub_url == in_use:
        return Connection(hub_url, settings.api_key.get_secret_value(), org)
    profile = store.find(hub_url)
    if profile is None and to is None and settings.hub_url is None:
        raise Unauthorized(
            f"There is no key for {hub_url}.",
            hint="`freesolo up` starts a platform on this machine; `freesolo login` stores a key; "
            "FREESOLO_HUB_URL names a hub, whose public environments need none.",
        )
    return Connection(hub_url, profile.api_key if profile else None, org)


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, readable by its owner only from the first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
