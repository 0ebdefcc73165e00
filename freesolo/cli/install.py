"""`freesolo install`, `add` and `remove`: environments for a consumer's own code."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from packaging.version import Version

from freesolo.cli.context import App, json_option, pass_app, sandbox_option
from freesolo.cli.lock import consumer_in, show_lock, up_to_date_lock
from freesolo.client.environments import Placed
from freesolo.domain.refs import EnvRef, Selector, SelectorKind
from freesolo.domain.suggest import did_you_mean
from freesolo.errors import LockOutdated, NotFound
from freesolo.package.consumer import (
    CONSUMER_FILE,
    Consumer,
    compatible_range,
    new_consumer,
    parse_name,
    read_consumer,
    with_environment,
    without_environment,
    write_consumer,
)
from freesolo.package.local_secrets import find_secrets
from freesolo.package.lockfile import LOCK_FILE, Lock, check_fit, read_lock
from freesolo.package.resolution import Want, describe
from freesolo.runtime.client import open_host, read_manifest

_KEYS = "environments[] (ref, version, tree_digest, folder, python, loader)"


@click.command()
@click.argument("refs", nargs=-1, metavar="[REF]...")
@click.option("--locked", is_flag=True, help="Exactly what the lock holds, else fail with 4.")
@sandbox_option
@json_option(_KEYS)
@pass_app
def install(app: App, refs: Sequence[str], *, locked: bool, sandbox: str) -> None:
    """Fetch environments, each with a virtual environment of its own, and try to load them.

    Without REF, all that freesolo.toml wants, as freesolo.lock holds them. What is locked and was
    fetched before needs no hub.
    """
    folder = Path.cwd()
    parsed = [EnvRef.parse(ref) for ref in refs]
    if parsed:
        if locked:
            _refuse_unlocked(read_lock(folder), parsed)
        placed = [app.environments.place(ref, folder) for ref in parsed]
    else:
        consumer = consumer_in(folder)
        lock = (
            check_fit(read_lock(folder), consumer)
            if locked
            else up_to_date_lock(app, folder, consumer)
        )
        placed = _place_all(app, lock, consumer.environments)
    _try_and_show(app, placed, sandbox)


@click.command()
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@sandbox_option
@json_option(_KEYS)
@pass_app
def add(app: App, refs: Sequence[str], *, sandbox: str) -> None:
    """Write environments into freesolo.toml, lock and install them.

    A REF without a version is written as the range from the newest release to the next one that
    may break: `>=1.2.0,<2`.
    """
    folder = Path.cwd()
    parsed = [EnvRef.parse(ref) for ref in refs]
    consumer = read_consumer(folder) or new_consumer()
    for ref in parsed:
        consumer = with_environment(consumer, _with_range(app, ref, consumer))
    lock = up_to_date_lock(app, folder, consumer)
    write_consumer(folder, consumer)
    for ref in parsed:
        app.out.talk(f"{CONSUMER_FILE} wants {describe(consumer.find(ref) or ref)}.")
    _try_and_show(app, _place_all(app, lock, parsed), sandbox)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option("status, changes[] (ref, before, after), environments[] (ref, version, tree_digest)")
@pass_app
def remove(app: App, names: Sequence[str]) -> None:
    """Take environments out of freesolo.toml and freesolo.lock."""
    folder = Path.cwd()
    consumer = consumer_in(folder)
    for name in names:
        consumer = without_environment(consumer, _wanted(consumer, name))
    earlier = read_lock(folder)
    lock = up_to_date_lock(app, folder, consumer)
    write_consumer(folder, consumer)
    show_lock(app, earlier, lock)


def _place_all(app: App, lock: Lock, refs: Iterable[EnvRef]) -> list[Placed]:
    return [app.environments.place_locked(lock, ref, Path.cwd()) for ref in refs]


def _try_and_show(app: App, placed: Sequence[Placed], sandbox: str) -> None:
    """Load each environment in its own virtual environment, as training would, and say how to."""
    shown = []
    for one in placed:
        app.out.talk(f"Loading {one.version} ...")
        options = app.host_options(sandbox)
        secrets = _secrets_at_hand(app, one.folder)
        with open_host(one.folder, options, secrets=secrets, foundation=one.foundation) as host:
            app.out.talk(f"Its code is fenced in by: {', '.join(host.layers)}.")
            shown.append(_document(one, host.python))
        app.out.data(f"{one.version} {one.version.tree}")
        app.out.data(f"  {shown[-1]['loader']}")
    app.out.document({"environments": shown})
    if placed:
        app.out.next_step(f"freesolo eval MODEL {placed[0].version.id}")


def _secrets_at_hand(app: App, folder: Path) -> dict[str, str]:
    """Return what is set here of the secrets that an environment declares; it may load without."""
    manifest = read_manifest(folder)
    found = find_secrets(manifest.secrets if manifest else (), Path.cwd())
    for name, secret in found.items():
        app.out.talk(f"It gets {name} from {secret.source}.")
    return {name: secret.value for name, secret in found.items()}


def _document(placed: Placed, python: Path) -> dict[str, str]:
    version = placed.version
    return {
        "ref": version.id,
        "version": version.version,
        "tree_digest": version.tree,
        "folder": str(placed.folder),
        "python": str(python),
        "loader": f'freesolo.load("{version.id}@{version.version}")',
    }


def _refuse_unlocked(lock: Lock | None, refs: Sequence[EnvRef]) -> None:
    for ref in refs:
        if lock is None or not lock.holds(ref):
            raise LockOutdated(
                f"{LOCK_FILE} does not hold {ref}.", hint=f"`freesolo add {ref}` adds it."
            )


def _with_range(app: App, ref: EnvRef, consumer: Consumer) -> EnvRef:
    if ref.selector.kind is not SelectorKind.LATEST:
        return ref
    python = consumer.requires_python
    lock = app.environments.resolve([Want(ref, by="the command line")], python=python)
    newest = Version(lock.closure(ref)[0].version)
    return EnvRef(ref.org, ref.name, Selector.parse(compatible_range(newest)))


def _wanted(consumer: Consumer, name: str) -> EnvRef:
    ref = parse_name(name)
    if consumer.find(ref) is None:
        known = [one.full_name for one in consumer.environments]
        raise NotFound(
            f"{CONSUMER_FILE} does not want {ref.full_name}.",
            hint=did_you_mean(ref.full_name, known)
            or f"It wants: {', '.join(known) or 'nothing'}.",
        )
    return ref
