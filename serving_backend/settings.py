"""The configuration of the gateway, and of hosts of engines, read once from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from freesolo.services import LogLevel


class EngineSettings(BaseSettings):
    """What whoever starts engines reads from the environment, under the prefix `FREESOLO_SERVE_`."""

    model_config = SettingsConfigDict(
        env_prefix="FREESOLO_SERVE_", frozen=True, env_ignore_empty=True
    )

    hub_url: str = Field(
        default="http://127.0.0.1:8420", description="Address of the hub that knows the keys."
    )
    api_key: SecretStr = Field(description="A service key of the hub with the scope `gateway`.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
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


class ServingSettings(EngineSettings):
    """What the gateway reads beside that."""

    port: int = Field(default=8421, ge=1, le=65535, description="Port to listen on.")
    engine_wait_seconds: float = Field(
        default=150.0,
        gt=0,
        description="How long a request waits for its engine to start before it is answered with 503.",
    )
    max_in_flight: int = Field(
        default=1024,
        ge=1,
        description="Prompts that one engine may have at once, answered and waiting, each as often as "
        "it wants answers; more are answered with 503. Thirty times what an engine on a CPU answers together, and what a large GPU does.",
    )
    max_in_flight_per_org: int = Field(
        default=512,
        ge=1,
        description="The same for one organisation at one engine; more are answered with 429. Half of "
        "the above leaves room for others.",
    )
    first_token_seconds: float = Field(
        default=120.0,
        gt=0,
        description="How long a stream may keep its caller waiting for its beginning; it is then "
        "answered with 503, and nothing is billed.",
    )
    request_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long an answer may take altogether. One that is not streamed is then answered "
        "with 503, and nothing is billed; a stream ends, and what it brought is.",
    )
    metrics_public: bool = Field(
        default=False,
        description="Whether `/metrics` answers everybody, for a Prometheus on another machine. It names "
        "base models, but no org, key or adapter.",
    )
    max_engines: int = Field(
        default=4,
        ge=1,
        description="How many engines of its own a gateway runs at once, of a base model each. For one "
        "more, the one that answers nobody and was asked least recently is ended; if all answer, 503.",
    )
    own_engines: bool = Field(
        default=True,
        description="Whether the gateway starts an engine of its own for a base model that no "
        "host of engines serves.",
    )


class EngineHostSettings(EngineSettings):
    """What a host of an engine reads beside that."""

    model: str = Field(description="The base model to serve, by its id in the hub's catalog.")
    port: int = Field(
        default=8422, ge=1, le=65535, description="Port where gateways ask for adapters."
    )
    advertise: str | None = Field(
        default=None,
        description="Name or address by which gateways reach this machine; `host` if left out.",
    )
    drain_seconds: float = Field(
        default=120.0,
        ge=0,
        description="How long the host waits, when told to end, for requests under way.",
    )
