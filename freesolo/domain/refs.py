"""References: the text by which people name environments and adapters.

org/name                     the newest release
org/name@1.2.0               one version
org/name@>=1.2,<2            the newest version in a range (PEP 440)
org/name@stable              a channel: a word that looks like no version and no digest
org/name@sha256:<64 hex>     one state, by its tree digest
org/project/name[@...]       accepted on input; the project is only a label

run-ab12cd34ef               the adapter that an alias points to
run-ab12cd34ef/step-20       the adapter of one checkpoint
run-ab12cd34ef@final.<40 hex>, run-ab12cd34ef@step-20.<40 hex>     one immutable revision
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from freesolo.errors import InvalidRef

NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
RUN_ID_PATTERN = re.compile(r"run-[a-z0-9]{10}")
_CHANNEL_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}")
# What people would read as a version or as (part of) a digest, though neither parses.
_NO_CHANNEL_PATTERN = re.compile(r"v[0-9].*|sha256.*|[0-9a-f]{7,}")
_DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
_REVISION_PATTERN = re.compile(
    r"(?P<run>[^@/]+)@(?P<point>final|step-[0-9]{1,9})\.(?P<hash>[0-9a-f]{40})"
)
_MAX_SELECTOR = 200
_STEP_PATTERN = re.compile(r"(?P<run>[^@/]+)/step-(?P<step>[0-9]{1,9})")


class SelectorKind(StrEnum):
    """How a reference chooses among the versions of an environment."""

    LATEST = "latest"
    EXACT = "exact"
    RANGE = "range"
    CHANNEL = "channel"
    DIGEST = "digest"


@dataclass(frozen=True)
class Selector:
    """The part of a reference after `@`; `text` is empty for the newest release."""

    kind: SelectorKind
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> "Selector":
        """Read what follows the `@`. Raise `InvalidRef` if it is none of the known forms."""
        text = text.strip()
        if not text or text == "latest":
            return cls(SelectorKind.LATEST)
        if len(text) > _MAX_SELECTOR:
            raise InvalidRef(
                f"{text[:40] + '...'!r} is too long for a version, a range, a channel or a digest.",
                hint=f"A reference has at most {_MAX_SELECTOR} characters after its `@`.",
            )
        if text.startswith("sha256:"):
            if not _DIGEST_PATTERN.fullmatch(text):
                raise InvalidRef(
                    f"{text!r} is not a tree digest.",
                    hint="A digest is `sha256:` and 64 lower-case hexadecimal digits.",
                )
            return cls(SelectorKind.DIGEST, text)
        try:
            return cls(SelectorKind.EXACT, str(Version(text)))
        except InvalidVersion:
            pass
        if _CHANNEL_PATTERN.fullmatch(text) and not _NO_CHANNEL_PATTERN.fullmatch(text):
            return cls(SelectorKind.CHANNEL, text)
        try:
            versions = str(SpecifierSet(text))
        except InvalidSpecifier:
            versions = ""
        if not versions:  # as in "," too
            raise InvalidRef(
                f"{text!r} is neither a version, a range, a channel nor a digest.",
                hint="Try `@1.2.0`, `@>=1.2,<2`, `@stable` or `@sha256:...`.",
            )
        return cls(SelectorKind.RANGE, versions)


LATEST = Selector(SelectorKind.LATEST)


@dataclass(frozen=True)
class EnvRef:
    """A parsed environment reference. `org` and `name` are kept as they were written."""

    org: str
    name: str
    selector: Selector = LATEST

    @classmethod
    def parse(cls, text: str) -> "EnvRef":
        """Read `[org/[project/]]name[@selector]`. Raise `InvalidRef` with the way to write it."""
        path, at, selector = text.strip().partition("@")
        parts = path.split("/")
        if len(parts) not in (2, 3) or not all(NAME_PATTERN.fullmatch(part) for part in parts):
            raise InvalidRef(
                f"{text!r} is not an environment reference.",
                hint="Write `org/name`, or `org/name@1.2.0` for one version.",
            )
        if at and not selector.strip():
            # As a shell writes `org/name@$VERSION` when that is empty: hardly the newest was meant.
            raise InvalidRef(
                f"{text!r} names no version after its `@`.",
                hint=f"Write `{path}` for the newest release.",
            )
        return cls(org=parts[0], name=parts[-1], selector=Selector.parse(selector))

    @property
    def full_name(self) -> str:
        """`org/name`, without the selector."""
        return f"{self.org}/{self.name}"

    def __str__(self) -> str:
        return f"{self.full_name}@{self.selector.text}" if self.selector.text else self.full_name


@dataclass(frozen=True)
class AdapterRef:
    """A parsed adapter reference: an alias, one of a run's checkpoints, or one revision."""

    run_id: str
    step: int | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "AdapterRef":
        """Read `RUN_ID`, `RUN_ID/step-N` or a full revision. Raise `InvalidRef` otherwise."""
        text = text.strip()
        if match := _REVISION_PATTERN.fullmatch(text):
            point = match["point"]
            step = None if point == "final" else int(point.removeprefix("step-"))
            return cls(run_id=_run_id(match["run"], text), step=step, revision=text)
        if match := _STEP_PATTERN.fullmatch(text):
            return cls(run_id=_run_id(match["run"], text), step=int(match["step"]))
        return cls(run_id=_run_id(text, text))

    @property
    def content(self) -> str:
        """What of a revision names its content: 40 hexadecimal digits; empty without one."""
        return (self.revision or "").rpartition(".")[2]

    def __str__(self) -> str:
        if self.revision:
            return self.revision
        return self.run_id if self.step is None else f"{self.run_id}/step-{self.step}"


def adapter_revision(run_id: str, step: int | None, tree_digest: str) -> str:
    """Return the immutable name of an adapter: `RUN_ID@final.<40 hex>` or `RUN_ID@step-N.<40 hex>`.

    `step` is None for the adapter that a run ended with; `tree_digest` is `sha256:<64 hex>`.
    """
    point = "final" if step is None else f"step-{step}"
    return f"{run_id}@{point}.{tree_digest.removeprefix('sha256:')[:40]}"


def normalized_name(name: str) -> str:
    """Fold a name for uniqueness as PEP 503 does: case, and runs of `-`, `_` and `.`."""
    return canonicalize_name(name)


def check_name(name: str, what: str) -> str:
    """Return `name` if it may name an org or an environment; raise `InvalidRef` otherwise."""
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidRef(
            f"{name!r} cannot name an {what}.",
            hint="Use 1 to 64 letters, digits, `-`, `_` or `.`; begin and end with a letter or digit.",
        )
    return name


def check_channel(name: str) -> str:
    """Return `name` if it may name a channel; raise `InvalidRef` otherwise."""
    try:
        if Selector.parse(name) == Selector(SelectorKind.CHANNEL, name):
            return name
    except InvalidRef:
        pass
    raise InvalidRef(
        f"{name!r} cannot name a channel.",
        hint="Use a word of at most 32 lower-case letters, digits and `-`, such as `stable`, that "
        "looks like no version and no digest.",
    )


def _run_id(run_id: str, text: str) -> str:
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise InvalidRef(
            f"{text!r} is not an adapter reference.",
            hint="Write a run id such as `run-ab12cd34ef`, `RUN_ID/step-20`, or a full revision.",
        )
    return run_id
