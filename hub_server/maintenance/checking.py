"""`fsck`: is everything that was acknowledged still here, whole and unchanged?"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from freesolo.domain.feed import Link, verify_chain
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.domain.refs import Selector
from freesolo.errors import FreesoloError, InvalidFeed, InvalidRef
from freesolo.package.archive import inspect_archive
from hub_server.blobs import BlobStore
from hub_server.changes.service import feed_head
from hub_server.environments import service as environments
from hub_server.models import (
    Change,
    Channel,
    Environment,
    EnvironmentVersion,
    Org,
    VersionState,
)
from hub_server.storage import service as storage
from hub_server.storage.service import Reference

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be: what it is about, and what is wrong."""

    what: str
    problem: str


@dataclass(frozen=True)
class Health:
    """What a check found. Orphans are no findings: the next collections remove them."""

    findings: tuple[Finding, ...]
    blobs: int
    versions: int
    changes: int
    orphans: int
    orphan_bytes: int


def check(session: Session, blobs: BlobStore) -> Health:
    """Read everything that something refers to, and compare it with what was promised.

    `session` sees one moment; what is published meanwhile is not looked at.
    """
    references = list(storage.references(session))
    needed = {reference.digest for reference in references}
    findings = [
        *_damaged_blobs(references, blobs),
        *_unresolvable(session),
        *_broken_links(session),
    ]
    orphans = [entry.size for entry in blobs.blobs() if entry.digest not in needed]
    return Health(
        findings=tuple(findings),
        blobs=len(needed),
        versions=sum(1 for _ in _published(session)),
        changes=len(session.scalars(select(Change.serial)).all()),
        orphans=len(orphans),
        orphan_bytes=sum(orphans),
    )


def _damaged_blobs(references: list[Reference], blobs: BlobStore) -> Iterator[Finding]:
    seen: set[tuple[str, str | None]] = set()
    for reference in references:
        # Versions with the same content share a blob, which is read once.
        if (reference.digest, reference.tree_digest) in seen:
            continue
        seen.add((reference.digest, reference.tree_digest))
        try:
            problem = _damage(reference, blobs)
        except FreesoloError as error:
            problem = error.message
        if problem:
            yield Finding(reference.what, problem)


def _damage(reference: Reference, blobs: BlobStore) -> str | None:
    size = blobs.size(reference.digest)
    if size != reference.size:
        return f"{reference.digest} has {size} bytes instead of {reference.size}."
    with fetched(blobs, reference.digest, into=blobs.staging) as (path, digest):
        if digest != reference.digest:
            return f"The bytes of {reference.digest} have the digest {digest}."
        if reference.tree_digest is not None:
            tree = inspect_archive(path, ARTIFACT_LIMITS).tree_digest
            if tree != reference.tree_digest:
                return f"{reference.digest} holds {tree} instead of {reference.tree_digest}."
    return None


@contextmanager
def fetched(blobs: BlobStore, digest: str, *, into: Path) -> Iterator[tuple[Path, str]]:
    """Yield a copy of a blob in the folder `into`, and the digest of what was read."""
    found = hashlib.sha256()
    with (
        blobs.open(digest) as source,
        tempfile.NamedTemporaryFile(dir=into) as copy,
    ):
        while block := source.read(_BLOCK):
            found.update(block)
            copy.write(block)
        copy.flush()
        yield Path(copy.name), f"sha256:{found.hexdigest()}"


def _published(session: Session) -> Iterator[tuple[str, EnvironmentVersion, Environment]]:
    """Yield every published version, and the name of its environment."""
    rows = session.execute(
        select(EnvironmentVersion, Environment, Org.slug)
        .join(Environment, EnvironmentVersion.environment_id == Environment.id)
        .join(Org, Environment.org_id == Org.id)
        .where(
            EnvironmentVersion.state == VersionState.PUBLISHED,
            EnvironmentVersion.deleted_at.is_(None),
        )
        .order_by(Org.slug, Environment.name)
        .execution_options(yield_per=1000)
    )
    for version, environment, org in rows:
        yield f"{org}/{environment.name}", version, environment


def _unresolvable(session: Session) -> Iterator[Finding]:
    """Ask for each version by its number and its digest, and for what each environment points to."""
    shown: dict[str, Environment] = {}
    for name, version, environment in _published(session):
        shown[name] = environment
        for selector in (version.version, version.tree_digest):
            chosen = environments.chosen(session, environment, Selector.parse(selector))
            if chosen is None or chosen.tree_digest != version.tree_digest:
                yield Finding(f"{name}@{selector}", "It does not lead to its version.")
    for name, environment in shown.items():
        latest = environments.latest_of(session, environment)
        if environment.latest_version != latest:
            problem = (
                f"It says its newest version is {environment.latest_version!r}, not {latest!r}."
            )
            yield Finding(name, problem)
        for channel in session.scalars(
            select(Channel).where(Channel.environment_id == environment.id)
        ):
            try:
                Selector.parse(channel.selector)
            except InvalidRef as error:
                yield Finding(f"{name}@{channel.name}", error.message)


def _broken_links(session: Session) -> Iterator[Finding]:
    """Follow the feed from its beginning; it stops at the first entry that does not fit."""
    changes = select(Change).order_by(Change.serial).execution_options(yield_per=1000)
    links = (
        Link(change.serial, change.entry_hash, change.hash, change.entry, change.nonce)
        for change in session.scalars(changes)
    )
    try:
        end = verify_chain(links)
    except InvalidFeed as error:
        yield Finding("feed", error.message)
        return
    head = feed_head(session)
    if head != end:
        yield Finding("feed", f"It ends at change {end.serial}, but should at {head.serial}.")
