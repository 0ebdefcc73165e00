"""`freesolo lock`, `update`, `outdated`, and how other commands keep a folder's lock up to date."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.refs import EnvRef
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import InvalidConsumerFile, InvalidLockFile, NotFound
from freesolo.package.consumer import CONSUMER_FILE, Consumer, parse_name, read_consumer
from freesolo.package.lockfile import (
    LOCK_FILE,
    Lock,
    LockedEnvironment,
    check_fit,
    misfits,
    read_lock,
    read_pylocks,
    write_lock,
)

_KEYS = "status, changes[] (ref, before, after), environments[] (ref, version, tree_digest)"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing: fail with 4 if the lock does not fit.")
@json_option(_KEYS)
@pass_app
def lock(app: App, *, check: bool) -> None:
    """Write freesolo.lock: the exact versions that freesolo.toml comes to. What fits is kept."""
    folder = Path.cwd()
    consumer = consumer_in(folder)
    earlier = read_lock(folder)
    if check:
        fitting = check_fit(earlier, consumer)
        read_pylocks(folder, fitting.environment)
        show_lock(app, earlier, fitting)
    else:
        show_lock(app, earlier, up_to_date_lock(app, folder, consumer))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option(_KEYS)
@pass_app
def update(app: App, names: Sequence[str]) -> None:
    """Move the lock to the newest versions that fit: of all environments, or of NAME (org/name)."""
    folder = Path.cwd()
    consumer = consumer_in(folder)
    earlier = read_lock(folder)
    refs = [_locked_name(earlier, name) for name in names]
    kept = earlier.without(refs) if earlier and refs else None
    show_lock(app, earlier, _relock(app, folder, consumer, kept))


@click.command()
@json_option("environments[] (ref, locked, wanted, latest, yanked, outdated)")
@pass_app
def outdated(app: App) -> None:
    """Compare the lock with what `update` would take, and with the newest releases."""
    folder = Path.cwd()
    consumer = consumer_in(folder)
    standings = app.environments.outdated(consumer, check_fit(read_lock(folder), consumer))
    rows = [
        {
            "ref": standing.locked.id,
            "locked": standing.locked.version,
            "wanted": standing.wanted,
            "latest": standing.latest,
            "yanked": standing.yanked,
            "outdated": standing.outdated,
        }
        for standing in standings
    ]
    app.out.document({"environments": rows})
    old = [row for row in rows if row["outdated"]]
    if not old:
        app.out.data("Everything is up to date.")
        return
    app.out.table(
        ("environment", "locked", "wanted", "latest", ""),
        [
            (row["ref"], row["locked"], row["wanted"], row["latest"], _yanked(row["yanked"]))
            for row in old
        ],
    )
    app.out.next_step("freesolo update")


def consumer_in(folder: Path) -> Consumer:
    """Return what the folder wants; raise `InvalidConsumerFile` if it has no `freesolo.toml`."""
    consumer = read_consumer(folder)
    if consumer is None:
        raise InvalidConsumerFile(
            f"There is no {CONSUMER_FILE} in {folder}.",
            hint="`freesolo add org/name` makes one.",
        )
    return consumer


def up_to_date_lock(app: App, folder: Path, consumer: Consumer) -> Lock:
    """Return a lock that fits the consumer; the one that is there stays, as far as it fits.

    No hub is asked if nothing is to be added.
    """
    earlier = read_lock(folder)
    if earlier is None:
        return _relock(app, folder, consumer, None)
    kept = earlier.only(consumer.environments)
    if misfits(kept, consumer) or not _has_pylocks(app, folder, kept):
        return _relock(app, folder, consumer, earlier)
    if kept != earlier:
        write_lock(folder, kept, {})
    return kept


def show_lock(app: App, earlier: Lock | None, current: Lock) -> None:
    """Tell what a lock holds, and what is new in it."""
    changes = _changes(earlier, current)
    app.out.document(
        {
            "status": _status(earlier, current),
            "changes": changes,
            "environments": [
                {"ref": one.id, "version": one.version, "tree_digest": one.tree}
                for one in current.environment
            ],
        }
    )
    for change in changes:
        app.out.data(f"{change['ref']} {change['before'] or '-'} -> {change['after'] or '-'}")
    if not changes:
        app.out.data(f"{LOCK_FILE} fits {CONSUMER_FILE}: {len(current.environment)} environments.")
    app.out.next_step("freesolo install --locked")


def _relock(app: App, folder: Path, consumer: Consumer, kept: Lock | None) -> Lock:
    pylocks = _pylock_texts(folder, kept.environment if kept else ())
    locked = app.environments.lock(consumer, kept, pylocks)
    write_lock(folder, locked.lock, locked.pylocks)
    return locked.lock


def _pylock_texts(folder: Path, environments: Sequence[LockedEnvironment]) -> Mapping[str, str]:
    names = [environment.pip.lock for environment in environments if environment.pip]
    paths = [folder / name for name in names]
    return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def _has_pylocks(app: App, folder: Path, lock: Lock) -> bool:
    try:
        read_pylocks(folder, lock.environment)
    except InvalidLockFile as error:
        app.out.talk(f"{error.message} It is written anew.")
        return False
    return True


def _locked_name(lock: Lock | None, name: str) -> EnvRef:
    ref = parse_name(name)
    if lock is None or lock.find(ref) is None:
        known = [one.id for one in lock.environment] if lock else []
        raise NotFound(
            f"{LOCK_FILE} holds no {ref.full_name}.",
            hint=did_you_mean(ref.full_name, known) or f"`freesolo add {ref.full_name}` adds it.",
        )
    return ref


def _status(earlier: Lock | None, current: Lock) -> str:
    if earlier is None:
        return "created"
    return "unchanged" if earlier == current else "changed"


def _changes(earlier: Lock | None, current: Lock) -> list[dict[str, str | None]]:
    before = {one.id: one.version for one in earlier.environment} if earlier else {}
    after = {one.id: one.version for one in current.environment}
    return [
        {"ref": name, "before": before.get(name), "after": after.get(name)}
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _yanked(yanked: object) -> str:
    return "yanked" if yanked else ""
