"""What the hub is told by its environment variables, all prefixed `FREESOLO_SERVER_`."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.services import LogLevel


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
    catalog: Path | None = Field(
        default=None,
        description="TOML file with more base models, one `[[model]]` table for each.",
    )
    log_level: LogLevel = Field(default="INFO", description="Least severe level that is logged.")

    @property
    def database(self) -> str:
        """The URL of the database to use."""
        return self.database_url or f"sqlite:///{self.data_dir / 'hub.db'}"
