"""The gateway's configuration, read once from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.services import LogLevel


class ServingSettings(BaseSettings):
    """What the gateway reads from the environment, under the prefix `FREESOLO_SERVE_`."""

    model_config = SettingsConfigDict(
        env_prefix="FREESOLO_SERVE_", frozen=True, env_ignore_empty=True
    )

    hub_url: str = Field(
        default="http://127.0.0.1:8420", description="Address of the hub that knows the keys."
    )
    api_key: SecretStr = Field(description="A service key of the hub with the scope `gateway`.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8421, ge=1, le=65535, description="Port to listen on.")
    data_dir: Path = Field(
        description="Folder for adapters, token counts not yet delivered, and the engines' logs."
    )
    cache_dir: Path = Field(
        description="Folder for base models that are fetched or converted; it can be deleted at any time."
    )
    hf_token: SecretStr | None = Field(
        default=None,
        description="Token for models of the Hugging Face hub that are gated or private, as for "
        "workers.",
    )
    engine_wait_seconds: float = Field(
        default=150.0,
        gt=0,
        description="How long a request waits for its engine to start before it is answered with 503.",
    )
    max_model_len: int = Field(
        default=2048,
        ge=64,
        description="Most tokens a request may have, prompt and answer together; a base model with "
        "a shorter context keeps its own limit.",
    )
    kv_cache_gib: int = Field(
        default=1, ge=1, description="Memory for the context cache of an engine on the CPU, in GiB."
    )
    adapter_disk_gib: float = Field(
        default=20.0,
        gt=0,
        description="Disk space for adapters, in GiB; beyond it, those that no engine has loaded and that "
        "were used least recently are removed, and fetched again when they are asked for.",
    )
    log_level: LogLevel = Field(default="INFO", description="Least severe level that is logged.")
