"""Token counts on their way to the hub: written down before the answer ends, delivered until heard.

A record is a line of `open.jsonl`. To deliver, that file is renamed and its records are
sent; it is removed once the hub has them all. Whatever a killed gateway leaves behind is sent at
the next start, perhaps for the second time: a record's id makes that harmless.
"""

import asyncio
import logging
import uuid
from pathlib import Path

from pydantic import ValidationError

from freesolo.errors import FreesoloError, InvalidInput, StorageFull
from freesolo.schemas.deployments import UsageBatch, UsageRecord
from serving_backend.hub import Hub

logger = logging.getLogger(__name__)

_BATCH = 500
_INTERVAL_SECONDS = 0.5
_PAUSE_SECONDS = 5.0


class UsageLog:
    """The records that the hub does not have yet, as files in `folder`."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open = folder / "open.jsonl"
        self._hub = hub

    def record(self, record: UsageRecord) -> None:
        """Write a record down. It survives the death of this process from the return on.

        Raise `StorageFull` if it cannot be written: its answer must not be given then.
        """
        # The line break comes first, so that a line cut short by a full disk spoils no other.
        line = f"\n{record.model_dump_json()}".encode()
        try:
            with self._open.open("ab", buffering=0) as file:
                written = file.write(line)
        except OSError as error:
            raise StorageFull(f"The gateway cannot write token counts: {error.strerror}.") from None
        if written != len(line):
            raise StorageFull("The gateway has no room left for token counts.")

    async def deliver_forever(self) -> None:
        """Send what is written down, soon after it is; pause while the hub does not take it."""
        while True:
            try:
                await self.deliver()
                await asyncio.sleep(_INTERVAL_SECONDS)
            except (FreesoloError, OSError) as error:
                logger.warning("usage not delivered", extra={"reason": str(error)})
                await asyncio.sleep(_PAUSE_SECONDS)

    async def deliver(self) -> None:
        """Send every record to the hub. Raise what it answers; nothing is forgotten then."""
        for file in self._waiting():
            try:
                await self._send(_records(file))
            except InvalidInput as error:
                # Sending it again would fail again, and hold up every later record.
                file.rename(file.with_suffix(".refused"))
                logger.error("usage refused", extra={"reason": error.message, "file": file.name})
            else:
                file.unlink()

    def _waiting(self) -> list[Path]:
        if self._open.exists():
            self._open.rename(self._folder / f"{uuid.uuid4().hex}.sending")
        return sorted(self._folder.glob("*.sending"))

    async def _send(self, records: list[UsageRecord]) -> None:
        for start in range(0, len(records), _BATCH):
            await self._hub.report_usage(UsageBatch(records=records[start : start + _BATCH]))


def _records(file: Path) -> list[UsageRecord]:
    records = []
    for line in filter(None, file.read_bytes().splitlines()):
        try:
            records.append(UsageRecord.model_validate_json(line))
        except ValidationError:
            # Cut short when it was written, and its answer was refused.
            logger.error("usage record is damaged", extra={"file": file.name})
    return records
