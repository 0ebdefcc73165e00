"""What the hub is told by its environment variables, all prefixed `FREESOLO_SERVER_`."""

from pathlib import Path
from typing import Annotated

import limits
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.domain.catalog import MOST_PRICE
from freesolo.domain.prices import Prices
from freesolo.domain.rates import MOST_PER_MINUTE, KeyLimits
from freesolo.schemas.usage import BillingMode
from freesolo.services import LogLevel
from hub_server.accounts.quotas import Quota

# A budget that nobody can exceed.
NO_LIMIT = "off"


def _rate(text: str) -> str:
    if text != NO_LIMIT:
        limits.parse(text)
    return text


_Rate = Annotated[str, AfterValidator(_rate)]


class HubSettings(BaseSettings):
    """Configuration of one hub process."""

    model_config = SettingsConfigDict(
        env_prefix="FREESOLO_SERVER_", frozen=True, env_ignore_empty=True
    )

    data_dir: Path = Field(
        default=Path.home() / ".freesolo" / "hub",
        description="Folder for the blobs and, by default, the database.",
    )
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL (`sqlite:///...` or `postgresql+psycopg://...`); "
        "by default the SQLite file `hub.db` in the data folder.",
    )
    s3_bucket: str | None = Field(
        default=None,
        description="Bucket that keeps the blobs, in any S3-compatible store; by default they lie "
        "in the data folder.",
    )
    s3_endpoint: str | None = Field(
        default=None, description="Address of the S3-compatible store; AWS's own by default."
    )
    s3_region: str = Field(default="us-east-1", description="Region of the bucket.")
    s3_access_key: str | None = Field(
        default=None,
        description="Name of the key to the bucket; by default looked for where AWS's tools do.",
    )
    s3_secret_key: SecretStr | None = Field(
        default=None, description="The secret that belongs to the key to the bucket."
    )
    s3_redirect: bool = Field(
        default=True,
        description="Whether clients download from the store itself, by an address that expires "
        "after two minutes. Turn it off where they cannot reach the store.",
    )
    signing_key: Path | None = Field(
        default=None,
        description="File with the Ed25519 private key, in PEM, that signs receipts; by default "
        "`signing-key.pem` in the data folder, made at the first start. Replicas share one.",
    )
    encryption_key: Path | None = Field(
        default=None,
        description="File with the key that encrypts secrets in the database; by default "
        "`encryption-key` in the data folder, made at the first start. Replicas share one.",
    )
    webhook_private_networks: bool = Field(
        default=False,
        description="Whether webhooks may be sent to addresses of this machine and of private "
        "networks. Whoever administers an org then reaches what the hub reaches.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8420, ge=1, le=65535, description="Port to listen on.")
    gateway_url: str = Field(
        default="http://127.0.0.1:8421",
        description="Public address of the gateway, told to clients that log in.",
    )
    lease_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds after which work is taken from a worker or gateway that fell silent.",
    )
    keep_adapters: int | None = Field(
        default=None,
        ge=1,
        description="How many of the newest adapters of a run are kept, beside its result and those "
        "that are deployed; all by default. What is needed to resume a run is kept for its newest "
        "checkpoint, until it ends.",
    )
    org_storage_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Bytes of archives and wheels that an org may keep, unless `set-quota` says "
        "otherwise for it; no limit by default.",
    )
    org_environments: int | None = Field(
        default=None,
        ge=0,
        description="Environments that an org may have, unless `set-quota` says otherwise for it; "
        "no limit by default.",
    )
    billing: BillingMode = Field(
        default=BillingMode.METER,
        description="`meter` counts tokens and what they cost; with `prepaid` a request whose org has "
        "too little left for it is refused. `python -m hub_server credit` adds to a balance.",
    )
    added_price_input: int = Field(
        default=600_000,
        ge=0,
        le=MOST_PRICE,
        description="With `prepaid`, pico-dollars that a token of a prompt costs at base models that orgs "
        "have added; by default as at the dearest model that is built in.",
    )
    added_price_output: int = Field(
        default=1_800_000, ge=0, le=MOST_PRICE, description="The same for tokens of answers."
    )
    key_requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PER_MINUTE,
        description="The most requests that any key may make of a gateway in a minute; `freesolo keys "
        "limit` can allow a key fewer, not more. No limit by default.",
    )
    key_tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PER_MINUTE,
        description="The same for tokens, of prompts and answers together.",
    )
    catalog: Path | None = Field(
        default=None,
        description="TOML file with more base models, one `[[model]]` table for each.",
    )
    model_paths: bool = Field(
        default=False,
        description="Whether orgs may add base models that are folders on the machines that train "
        "and serve. Whoever administers an org then has any model read that is on them.",
    )
    rate_reads: _Rate = Field(
        default="30000/minute",
        description="Reads that one key, or one address without a key, may make of each hub process, "
        "such as `600/minute`; `off` for no limit.",
    )
    rate_downloads: _Rate = Field(
        default="60000/minute",
        description="The same for resolving, indexes and downloads: what installing asks for.",
    )
    rate_writes: _Rate = Field(default="6000/minute", description="The same for everything else.")
    metrics_public: bool = Field(
        default=False,
        description="Whether `/metrics` answers everybody, for a Prometheus on another machine. "
        "It names no org and no environment, but says how busy the hub is.",
    )
    log_level: LogLevel = Field(default="INFO", description="Least severe level that is logged.")

    @property
    def quota(self) -> Quota:
        """What an org may keep, where nothing else is said for it."""
        return Quota(self.org_storage_bytes, self.org_environments)

    @property
    def prices_of_added(self) -> Prices | None:
        """What tokens of base models that orgs add cost; None where the orgs say it themselves."""
        if self.billing is BillingMode.METER:
            return None
        return Prices(
            prompt=self.added_price_input,
            cached=self.added_price_input,
            completion=self.added_price_output,
        )

    @property
    def key_limits(self) -> KeyLimits:
        """The most that any key may ask of a gateway."""
        return KeyLimits(
            requests_per_minute=self.key_requests_per_minute,
            tokens_per_minute=self.key_tokens_per_minute,
        )

    @property
    def database(self) -> str:
        """The URL of the database to use."""
        return self.database_url or f"sqlite:///{self.data_dir / 'hub.db'}"
