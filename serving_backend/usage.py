"""Token counts on their way to the hub, from two witnesses: this gateway, and its engines.

The gateway's records are lines of `open.jsonl`. To deliver, that file is renamed and its records are
sent; it is removed once the hub has them all. An engine's accounts are files of its own (see
`engine_journal`), a folder for each life of an engine; they go the same way. Whatever a killed
process leaves behind is sent later, perhaps for the second time: a record's id makes that harmless.
"""

import asyncio
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from freesolo.errors import FreesoloError, InvalidInput
from freesolo.schemas.usage import HoldIds, Metered, Outcome, UsageBatch, UsageRecord, Witness
from serving_backend.formats import counts_of
from serving_backend.hub import Hub

logger = logging.getLogger(__name__)

_BATCH = 500
_INTERVAL_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
# Several times within what the hub keeps a hold for.
_RENEWAL_SECONDS = 15.0
# In a folder of accounts whose engine has ended.
_ENDED = "ended"
# What the hub refused, a record a line, for a person to look at.
_REFUSED = "refused.jsonl"


class UsageLog:
    """The records that the hub does not have yet, as files in `folder`."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open = folder / "open.jsonl"
        self._hub = hub

    def record(self, record: UsageRecord) -> None:
        """Write a record down. It survives the death of this process from the return on.

        Where it cannot be written the engine's account of the request has to do.
        """
        # The line break comes first, so that a line cut short by a full disk spoils no other.
        line = f"\n{record.model_dump_json()}".encode()
        try:
            with self._open.open("ab", buffering=0) as file:
                written = file.write(line)
        except OSError as error:
            logger.critical("usage not written", extra={"reason": str(error), "id": record.id})
            return
        if written != len(line):
            logger.critical("usage not written", extra={"reason": "disk full", "id": record.id})

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
        """Send every record to the hub. Raise what it answers; nothing is forgotten then.

        Files are read and removed in a thread: there may be hundreds, and answers must not wait.
        """
        for file in self._waiting():
            await self._send(await asyncio.to_thread(_records, file), [file])
        for journal in journals(self._folder):
            await self._deliver_accounts(journal)

    async def hand_over(self) -> None:
        """Deliver for the last time; what an absent hub does not take waits for the next start."""
        try:
            await self.deliver()
        except (FreesoloError, OSError) as error:
            logger.warning("usage not delivered", extra={"reason": str(error)})

    def is_delivered(self, engine: str) -> bool:
        """Say whether every request that a life of an engine has begun is ended, and with the hub."""
        journal = journal_of(self._folder, engine)
        return not _files(journal, "open") and not _files(journal, "closed")

    def _waiting(self) -> list[Path]:
        if self._open.exists():
            self._open.rename(self._folder / f"{uuid.uuid4().hex}.sending")
        return sorted(self._folder.glob("*.sending"))

    async def _deliver_accounts(self, journal: Path) -> None:
        # Looked at first: an engine that has ended closes no account any more.
        ended = (journal / _ENDED).exists()
        parts = {"closed": _closed, "open": _lost} if ended else {"closed": _closed}
        for part, read in parts.items():
            files = await asyncio.to_thread(_files, journal, part)
            await self._send(await asyncio.to_thread(self._read, files, journal.name, read), files)
        if ended:
            shutil.rmtree(journal)

    def _read(
        self, files: Sequence[Path], engine: str, read: Callable[[bytes, str], UsageRecord]
    ) -> list[UsageRecord]:
        """Read accounts of an engine; one that is damaged is set aside, and holds up no other."""
        records = []
        for file in files:
            try:
                records.append(read(file.read_bytes(), engine))
            except FileNotFoundError:
                # The thread of a delivery that was cut off may still be removing what is sent.
                continue
            except (ValueError, KeyError):
                logger.critical("account is damaged", extra={"id": file.name, "engine": engine})
                file.rename(self._folder / f"{file.name}.damaged")
        return records

    async def _send(self, records: Sequence[UsageRecord], files: Sequence[Path]) -> None:
        """Send what stands in files, and remove those; what the hub refuses is set aside."""
        refused: list[UsageRecord] = []
        for start in range(0, len(records), _BATCH):
            refused += await self._send_batch(records[start : start + _BATCH])
        if refused:
            with (self._folder / _REFUSED).open("a") as file:
                file.writelines(f"{record.model_dump_json()}\n" for record in refused)
        await asyncio.to_thread(_remove, files)

    async def _send_batch(self, records: Sequence[UsageRecord]) -> Sequence[UsageRecord]:
        """Send records; return those that the hub refuses, which are looked for among the others."""
        try:
            await self._hub.report_usage(UsageBatch(records=list(records)))
        except InvalidInput as error:
            if len(records) == 1:
                logger.critical(
                    "usage refused", extra={"id": records[0].id, "reason": error.message}
                )
                return records
            middle = len(records) // 2
            halves = records[:middle], records[middle:]
            return [each for half in halves for each in await self._send_batch(half)]
        return ()


class Holds:
    """What is set aside at the hub for requests that this gateway answers."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ids: set[str] = set()

    def begin(self, generation: str) -> None:
        """Keep the hold of a request from now on."""
        self._ids.add(generation)

    def end(self, generation: str) -> None:
        """Let the hold of a request go; its record frees it, or time does."""
        self._ids.discard(generation)

    async def renew_forever(self) -> None:
        """Tell the hub from time to time what is still being answered."""
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            if not self._ids:
                continue
            try:
                await self._hub.renew_holds(HoldIds(ids=sorted(self._ids)))
            except FreesoloError as error:
                logger.warning("holds not renewed", extra={"reason": error.message})


def journal_of(folder: Path, engine: str) -> Path:
    """Return the folder of accounts of one life of an engine; `folder` is that of a `UsageLog`."""
    return folder / "engines" / engine


def journals(folder: Path) -> list[Path]:
    """Return the folders of accounts that are there."""
    return sorted(folder.glob("engines/*"))


def end_journal(journal: Path) -> None:
    """Note that the engine has ended: what is open in it is lost."""
    if journal.is_dir():
        (journal / _ENDED).touch()


def await_accounts(journal: Path, *, seconds: float) -> None:
    """Wait until an engine that nobody talks to any more has closed its accounts, if it can."""
    deadline = time.monotonic() + seconds
    while _files(journal, "open") and time.monotonic() < deadline:
        time.sleep(0.05)


def _files(journal: Path, part: str) -> list[Path]:
    # With an ending they are still being written.
    return sorted(path for path in (journal / part).glob("*") if not path.suffix)


def _records(file: Path) -> list[UsageRecord]:
    records = []
    for line in filter(None, file.read_bytes().splitlines()):
        try:
            records.append(UsageRecord.model_validate_json(line))
        except ValidationError:
            # Cut short when it was written.
            logger.error("usage record is damaged", extra={"file": file.name})
    return records


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _closed(content: bytes, engine: str) -> UsageRecord:
    account = json.loads(content)
    meter, usage = Metered.model_validate(account["meter"]), account["usage"]
    counts = counts_of(usage) if usage else {}
    outcome = Outcome.COUNTED if usage else Outcome.LOST
    return _by_engine(meter, engine, outcome, counts)


def _lost(content: bytes, engine: str) -> UsageRecord:
    return _by_engine(Metered.model_validate_json(content), engine, Outcome.LOST, {})


def _by_engine(
    meter: Metered, engine: str, outcome: Outcome, counts: dict[str, int]
) -> UsageRecord:
    if outcome is Outcome.LOST:
        logger.error("usage lost", extra={"id": meter.id, "engine": engine})
    return UsageRecord(
        **dict(meter), witness=Witness.ENGINE, outcome=outcome, engine=engine, **counts
    )
