"""How often the versions of an environment are used."""

import datetime as dt
from enum import StrEnum

from freesolo.schemas.base import Wire


class UseKind(StrEnum):
    """A way to use a version: fetch its archive or wheel, or train on it."""

    DOWNLOAD = "download"
    RUN = "run"


class DailyUses(Wire):
    """The uses of a version on one day, in UTC."""

    day: dt.date
    downloads: int = 0
    runs: int = 0


class VersionUses(Wire):
    """The uses of a version: in all of the days that are told, and on each that had any."""

    version: str
    downloads: int
    runs: int
    days: list[DailyUses]


class EnvironmentUses(Wire):
    """The answer of `GET /v1/envs/{org}/{name}/uses`: the last 90 days, the newest version first.

    A use is told within seconds. Of a hub that is killed, the last seconds are not.
    """

    ref: str
    since: dt.date
    versions: list[VersionUses]
