"""Keys and tokens that an author left in a file, found before they are published.

Only forms that hardly ever mean anything else are looked for: the tokens of well-known services,
which begin with a mark of their own, and private keys. What merely looks random, or is called a
password, fills datasets and is let pass. A line that says `pragma: allowlist secret` is let pass
too, as `detect-secrets` has it, and so are the EXAMPLE keys of manuals.

The scan is one pass over the bytes. A detector's patterns are tried only where one of its marks is.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path

from freesolo.errors import InvalidEnvironment, Problem

_ALLOWED = re.compile(rb"pragma: ?(?:allow|white)list[ -]secret")
_EXAMPLE = b"EXAMPLE"
# A new line, as strings of Python and JSON write it, ends the word before it.
_ESCAPED = (rb"\n", rb"\r", rb"\t")
# Lines are read whole up to this many bytes; what lies across a cut is read twice.
_MAX_LINE = 1 << 20
_OVERLAP = 1 << 10
_BLOCK = 1 << 20
_MAX_FOUND = 100


@dataclass(frozen=True)
class Secret:
    """Where something lies that looks like a secret, and of which kind; never the thing itself."""

    path: str
    line: int
    kind: str


@dataclass(frozen=True)
class _Detector:
    """One kind of secret. Whatever the patterns match holds one of the marks."""

    kind: str
    marks: tuple[bytes, ...]
    patterns: tuple[re.Pattern[bytes], ...]


def find_secrets(path: str, blocks: Iterable[bytes]) -> list[Secret]:
    """Return what looks like a secret in the file `path`, whose content is `blocks`, in order.

    Every block is taken, but no more than 100 places of a file are told.
    """
    found: set[Secret] = set()
    line = 1
    for text in _whole_lines(blocks):
        for detector in _detectors():
            places = islice(_places(detector, text), _MAX_FOUND - len(found))
            found |= {Secret(path, line + text.count(b"\n", 0, at), detector.kind) for at in places}
        line += text.count(b"\n")
    return sorted(found, key=lambda secret: (secret.line, secret.kind))


def scan_files(folder: Path, paths: Iterable[str]) -> Iterator[Secret]:
    """Yield what looks like a secret in the files `paths` of `folder`."""
    for path in paths:
        with (folder / path).open("rb") as file:
            yield from find_secrets(path, iter(partial(file.read, _BLOCK), b""))


def refuse_secrets(found: Sequence[Secret]) -> None:
    """Raise `InvalidEnvironment` if there is any secret, naming the place and kind of each."""
    if not found:
        return
    first = found[0]
    raise InvalidEnvironment(
        f"{first.path}, line {first.line}, holds what looks like a secret ({first.kind}).",
        problems=[
            Problem(f"{secret.path}:{secret.line}", f"{secret.kind}.", "secret_found")
            for secret in found
        ],
        hint="Remove it and revoke it; hand secrets in by name, through `secrets` in the manifest. "
        "If it is none, write `pragma: allowlist secret` on its line.",
    )


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        rest += block
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > _MAX_LINE:
            yield rest
            rest = rest[-_OVERLAP:]
    if rest:
        yield rest


def _places(detector: _Detector, text: bytes) -> Iterator[int]:
    """Yield where a detector finds something, at most once a line for each of its patterns."""
    if not any(mark in text for mark in detector.marks):
        return
    for pattern in detector.patterns:
        line_end = 0
        for match in pattern.finditer(text):
            at = match.start()
            if at < line_end or not _begins_word(text, at) or _EXAMPLE in match[0].upper():
                continue
            line_start = text.rfind(b"\n", 0, at) + 1
            line_end = text.find(b"\n", at) + 1 or len(text)
            if not _ALLOWED.search(text, line_start, line_end):
                yield at


def _begins_word(text: bytes, at: int) -> bool:
    return not text[at - 1 : at].isalnum() or text[at - 2 : at] in _ESCAPED


def _own(kind: str, mark: str, rest: str) -> _Detector:
    pattern = re.escape(mark) + rest
    return _Detector(kind, (mark.encode(),), (re.compile(pattern.encode()),))


# Tokens that detect-secrets does not know, of services that environments talk to.
_OWN = (
    _own("Freesolo key", "fslo_", r"[A-Za-z0-9_-]{20,}"),
    _own("Hugging Face token", "hf_", r"[A-Za-z0-9]{30,}"),
    # Of OpenAI and those who copied its form: words, and in the end a long one.
    _own("API key", "sk-", r"(?:[A-Za-z0-9]{1,19}[_-]{1,2}){0,8}[A-Za-z0-9]{20,}"),
    _own("Groq key", "gsk_", r"[A-Za-z0-9]{40,}"),
    _own("xAI key", "xai-", r"[A-Za-z0-9]{60,}"),
    _own("NVIDIA key", "nvapi-", r"[A-Za-z0-9_-]{60,}"),
    _own("Replicate token", "r8_", r"[A-Za-z0-9]{37,}"),
    _own("Google API key", "AIza", r"[A-Za-z0-9_-]{35}"),
    _own("GitHub Token", "github_pat_", r"[A-Za-z0-9_]{36,}"),
    _own("NPM token", "npm_", r"[A-Za-z0-9]{36}"),
    _own("Private Key", "-----BEGIN ENCRYPTED PRIVATE KEY", ""),
)


@cache
def _detectors() -> tuple[_Detector, ...]:
    # Loaded when a scan begins: they bring an HTTP client along, which no other command waits for.
    from detect_secrets.plugins import (  # noqa: PLC0415
        aws,
        azure_storage_key,
        github_token,
        gitlab_token,
        private_key,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
    )

    known = (
        (aws.AWSKeyDetector, ("AKIA", "ASIA", "ABIA", "ACCA", "A3T", "aws_secret", "AWS_SECRET")),
        (azure_storage_key.AzureStorageKeyDetector, ("AccountKey=",)),
        (github_token.GitHubTokenDetector, ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
        (gitlab_token.GitLabTokenDetector, ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-")),
        (private_key.PrivateKeyDetector, ("PRIVATE KEY", "PuTTY-User-Key-File")),
        (pypi_token.PypiTokenDetector, ("pypi-AgE",)),
        (sendgrid.SendGridDetector, ("SG.",)),
        (slack.SlackDetector, ("xox", "hooks.slack.com")),
        (square_oauth.SquareOAuthDetector, ("sq0csp-",)),
        (stripe.StripeDetector, ("k_live_",)),
    )
    theirs = (
        _Detector(
            str(plugin.secret_type),
            tuple(mark.encode() for mark in marks),
            tuple(_of_bytes(pattern) for pattern in plugin.denylist),
        )
        for plugin, marks in known
    )
    return (*theirs, *_OWN)


def _of_bytes(pattern: re.Pattern[str]) -> re.Pattern[bytes]:
    return re.compile(pattern.pattern.encode(), pattern.flags & re.IGNORECASE)
