"""The feed, watched: asked before each answer from memory which environments changed.

On SQLite a counter of the file tells in microseconds that nobody wrote since, in this process or in
any other. On PostgreSQL it takes a SELECT, but one speaks for all who came before it began.
"""

import threading
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection, Engine, func, select

from hub_server.db import connect_to_watch
from hub_server.models import Change

_AT_ONCE = 1000
_changed = select(Change.serial, Change.environment_id).order_by(Change.serial).limit(_AT_ONCE)


class FeedWatch:
    """Tells `changed` of each environment that changed, once, when asked to catch up.

    `instant` says that catching up takes too little time to be worth a thread.
    """

    def __init__(self, engine: Engine, changed: Callable[[UUID], None]) -> None:
        self._engine = engine
        self._changed = changed
        self._lock = threading.Lock()
        self._looks = 0
        self._connection: Connection | None = None
        self._file_version: object = None
        self.instant = engine.dialect.name == "sqlite"
        self.serial = -1

    def catch_up(self) -> None:
        """Return when `serial` is that of a moment after this was called; may raise `DBAPIError`."""
        looks = self._looks
        with self._lock:
            # A look that began after we came, and is over by now, saw all that we came for.
            if self._looks == looks:
                self._looks += 1
                self._look()

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _look(self) -> None:
        if self._connection is None:
            self._connection = connect_to_watch(self._engine)
        if self.instant and not self._was_written(self._connection):
            return
        try:
            self._read(self._connection)
        finally:
            # Ends what the statement began, and lets a lost connection be made anew.
            self._connection.rollback()

    def _was_written(self, connection: Connection) -> bool:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA data_version")
        before, self._file_version = self._file_version, cursor.fetchone()
        return self._file_version != before

    def _read(self, connection: Connection) -> None:
        if self.serial < 0:
            self.serial = connection.scalar(select(func.max(Change.serial))) or 0
            return
        full = True
        while full:
            rows = connection.execute(_changed.where(Change.serial > self.serial)).all()
            for _, environment_id in rows:
                self._changed(environment_id)
            if rows:
                self.serial = rows[-1].serial
            full = len(rows) == _AT_ONCE
