"""`fsck`: is everything that was acknowledged still here, whole and unchanged?"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from freesolo.domain.feed import Link, verify_chain
from freesolo.domain.packaging import ARTIFACT_LIMITS
from freesolo.domain.receipts import SignedPayload, check_says, verify_receipt
from freesolo.domain.refs import Selector
from freesolo.errors import FreesoloError, InvalidFeed, InvalidInput, InvalidReceipt, InvalidRef
from freesolo.package.archive import inspect_archive
from freesolo.schemas.receipts import Receipt
from hub_server.blobs import BlobStore
from hub_server.changes.service import feed_head
from hub_server.encryption import Vault
from hub_server.environments import service as environments
from hub_server.models import (
    Change,
    Channel,
    Environment,
    EnvironmentVersion,
    Org,
    ProjectSecret,
    RunSecret,
    VersionState,
    Webhook,
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


def check(
    session: Session, blobs: BlobStore, keys: Sequence[Ed25519PublicKey], *, vault: Vault
) -> Health:
    """Read everything that something refers to, and compare it with what was promised.

    `session` sees one moment; what is published meanwhile is not looked at. `keys` are those that
    may have signed receipts; `vault` has those that encrypted secrets.
    """
    references = list(storage.references(session))
    needed = {reference.digest for reference in references}
    findings = [
        *_damaged_blobs(references, blobs),
        *_unresolvable(session),
        *_denied(session, keys),
        *_broken_links(session),
        *_sealed_for_good(session, vault),
    ]
    orphans = [entry.size for entry in blobs.blobs() if entry.digest not in needed]
    return Health(
        findings=tuple(findings),
        blobs=len(needed),
        versions=_count(session, EnvironmentVersion.id, _is_published()),
        changes=_count(session, Change.serial),
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


def _is_published() -> ColumnElement[bool]:
    return and_(
        EnvironmentVersion.state == VersionState.PUBLISHED,
        EnvironmentVersion.deleted_at.is_(None),
    )


def _count(
    session: Session, column: InstrumentedAttribute[object], *conditions: ColumnElement[bool]
) -> int:
    return session.execute(select(func.count(column)).where(*conditions)).scalar_one()


def _published(session: Session) -> Iterator[tuple[str, EnvironmentVersion, Environment]]:
    """Yield every published version, and the name of its environment."""
    rows = session.execute(
        select(EnvironmentVersion, Environment, Org.slug)
        .join(Environment, EnvironmentVersion.environment_id == Environment.id)
        .join(Org, Environment.org_id == Org.id)
        .where(_is_published())
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


def _denied(session: Session, keys: Sequence[Ed25519PublicKey]) -> Iterator[Finding]:
    """Compare each version with what its receipt promises, and that with the hub's signature."""
    for name, version, _ in _published(session):
        try:
            _check_receipt(session, version, keys)
        except InvalidReceipt as error:
            yield Finding(f"receipt of {name} {version.version}", error.message)


def _check_receipt(
    session: Session, version: EnvironmentVersion, keys: Sequence[Ed25519PublicKey]
) -> None:
    if version.receipt is None:
        raise InvalidReceipt("There is none.")
    try:
        shown = Receipt.model_validate(version.receipt)
    except ValidationError:
        raise InvalidReceipt("It is not a receipt.") from None
    receipt = SignedPayload(shown.payload, shown.key_id, shown.signature)
    verify_receipt(receipt, keys)
    change = session.get(Change, receipt.payload["serial"])
    # Not its name: it may have another by now.
    check_says(
        receipt,
        {
            "version": version.version,
            "tree_digest": version.tree_digest,
            "archive_digest": version.archive_digest,
            "size": version.size,
            "published_at": version.published_at.isoformat(),
            "feed_hash": change.hash if change else None,
        },
    )


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


def _sealed_for_good(session: Session, vault: Vault) -> Iterator[Finding]:
    """Decrypt every secret; what is read is forgotten at once."""
    for what, ciphertext in _encrypted(session):
        try:
            vault.decrypt(ciphertext)
        except InvalidInput as error:
            yield Finding(what, error.message)


def _encrypted(session: Session) -> Iterator[tuple[str, bytes]]:
    for stored in session.scalars(select(ProjectSecret)):
        yield f"secret {stored.name} of project {stored.project_id}", stored.ciphertext
    for handed in session.scalars(select(RunSecret)):
        if handed.ciphertext is not None:
            yield f"secret {handed.name} of {handed.run_id}", handed.ciphertext
    for hook in session.scalars(select(Webhook).where(Webhook.deleted_at.is_(None))):
        yield f"address of webhook {hook.id}", hook.url
        yield f"secret of webhook {hook.id}", hook.secret
