"""The signature of what a hub sends to webhooks: made by the hub, checked by whoever receives.

`Freesolo-Signature: t=<seconds since 1970>,v1=<hex>`, where `v1` is the HMAC-SHA256, with the
webhook's secret as key, of the seconds, a dot, and the body's bytes.
"""

import hashlib
import hmac
import re
from datetime import datetime, timedelta

SIGNATURE_HEADER = "Freesolo-Signature"
# The same for every attempt to deliver one change: by it a receiver knows what it has had.
DELIVERY_HEADER = "Freesolo-Delivery"
KIND_HEADER = "Freesolo-Event"

_TOLERANCE = timedelta(minutes=5)
# Until the year 33658.
_SECONDS = re.compile(r"[0-9]{1,12}")


def sign_delivery(secret: str, body: bytes, *, at: datetime) -> str:
    """Return the header's value for a body that is sent now."""
    seconds = int(at.timestamp())
    return f"t={seconds},v1={_digest(secret, str(seconds), body)}"


def is_genuine(
    secret: str, header: str, body: bytes, *, now: datetime, tolerance: timedelta = _TOLERANCE
) -> bool:
    """Say whether a body came from the hub, and is no older than `tolerance`.

    `body` must be the bytes as they arrived, before anything has parsed them.
    """
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    seconds = parts.get("t", "")
    if not _SECONDS.fullmatch(seconds):
        return False
    if abs(now.timestamp() - int(seconds)) > tolerance.total_seconds():
        return False
    expected = _digest(secret, seconds, body)
    return hmac.compare_digest(expected.encode(), parts.get("v1", "").encode())


def _digest(secret: str, seconds: str, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
