"""`environment.toml`: what an environment says about itself."""

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from freesolo.domain.fields import EnvRequirementText, PlainText, PythonRangeText, RequirementText
from freesolo.domain.problems import problems_from_validation
from freesolo.domain.refs import check_name
from freesolo.domain.secrets import MAX_NAMES, SecretName
from freesolo.errors import InvalidManifest, Problem

MANIFEST_NAME = "environment.toml"
API = "freesolo/1"


def _name(value: str) -> str:
    return check_name(value, "environment")


def _version(value: str) -> str:
    try:
        return str(Version(value))
    except InvalidVersion:
        raise ValueError(f"{value!r} is not a PEP 440 version such as 0.1.0") from None


def _api(value: str) -> str:
    if value != API:
        raise ValueError(f"{value!r} is not supported; this release reads {API!r}")
    return value


class Manifest(BaseModel):
    """The `[environment]` table of `environment.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Annotated[str, AfterValidator(_name)]
    version: Annotated[str, AfterValidator(_version)] = "0.1.0"
    summary: PlainText = Field(default="", max_length=500)
    license: PlainText = Field(default="", max_length=200)
    api: Annotated[str, AfterValidator(_api)] = API
    requires_python: PythonRangeText = Field(default=">=3.11", alias="requires-python")
    dependencies: tuple[RequirementText, ...] = Field(default=(), max_length=200)
    environments: tuple[EnvRequirementText, ...] = Field(default=(), max_length=50)
    secrets: tuple[SecretName, ...] = Field(default=(), max_length=MAX_NAMES)
    network: bool = False
    tags: tuple[Annotated[PlainText, Field(min_length=1, max_length=50)], ...] = Field(
        default=(), max_length=20
    )


def parse_manifest(text: str) -> Manifest:
    """Read the text of `environment.toml`. Raise `InvalidManifest` listing every problem."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidManifest(f"{MANIFEST_NAME} is not valid TOML: {error}.") from None
    table = document.get("environment")
    if not isinstance(table, Mapping):
        raise InvalidManifest(
            f"{MANIFEST_NAME} has no [environment] table.",
            hint='It needs at least `[environment]` and `name = "my-task"`.',
        )
    extra = sorted(set(document) - {"environment"})
    if extra:
        raise InvalidManifest(
            f"{MANIFEST_NAME} has the unknown table [{extra[0]}].",
            problems=[Problem(name, "Unknown table.", "unknown_key") for name in extra],
        )
    return _validate(dict(table))


def _validate(table: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(table)
    except ValidationError as error:
        problems = problems_from_validation(error, Manifest)
        first = problems[0]
        raise InvalidManifest(
            f"{MANIFEST_NAME}: {first.path}: {first.message}", problems=problems
        ) from None
