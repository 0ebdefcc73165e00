"""Receipts: what is signed is what was said, by the key that is trusted."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freesolo.domain.canonical import canonical_json
from freesolo.domain.receipts import (
    RECEIPT_TYPE,
    SignedPayload,
    check_says,
    key_id,
    read_public_keys,
    verify_receipt,
)
from freesolo.errors import InvalidInput, InvalidReceipt

# The first test vector of RFC 8032, section 7.1.
KEY = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
PUBLIC = KEY.public_key()


def sign(**payload: str) -> SignedPayload:
    body = {"type": RECEIPT_TYPE, "ref": "acme/math", **payload}
    signature = base64.b64encode(KEY.sign(canonical_json(body))).decode()
    return SignedPayload(body, key_id(PUBLIC), signature)


def pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_canonical_json_is_sorted_compact_and_utf_8() -> None:
    assert canonical_json({"b": ["é", 1, None], "a": {"d": True, "c": ""}}) == (
        '{"a":{"c":"","d":true},"b":["é",1,null]}'.encode()
    )


def test_a_key_is_named_by_its_hash() -> None:
    assert key_id(PUBLIC) == "21fe31dfa154a261"


def test_a_receipt_verifies_with_the_key_that_signed_it() -> None:
    other = Ed25519PrivateKey.generate().public_key()
    verify_receipt(sign(), [other, PUBLIC])


def test_a_receipt_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(InvalidReceipt, match="not among those trusted"):
        verify_receipt(sign(), [Ed25519PrivateKey.generate().public_key()])


def test_an_altered_receipt_is_refused() -> None:
    receipt = sign()
    with pytest.raises(InvalidReceipt, match="did not sign"):
        verify_receipt(replace(receipt, payload={**receipt.payload, "ref": "acme/evil"}), [PUBLIC])


@pytest.mark.parametrize("signature", ["", "!", "AAAA", "ü"])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidReceipt, match="did not sign"):
        verify_receipt(replace(sign(), signature=signature), [PUBLIC])


def test_something_else_that_the_key_signed_is_no_receipt() -> None:
    with pytest.raises(InvalidReceipt, match="not a receipt"):
        verify_receipt(sign(type="freesolo-other 1"), [PUBLIC])


def test_a_receipt_of_another_version_is_told_by_the_field_that_differs() -> None:
    receipt = sign(version="1.0")
    check_says(receipt, {"ref": "acme/math", "version": "1.0"})
    with pytest.raises(InvalidReceipt, match=r"version is '1.0'; the hub says '2.0'"):
        check_says(receipt, {"version": "2.0"})


def test_keys_are_read_one_after_the_other() -> None:
    other = Ed25519PrivateKey.generate().public_key()
    keys = read_public_keys(f"# Ours.\n{pem(PUBLIC)}\n{pem(other)}", source="keys.pem")
    assert [key_id(key) for key in keys] == [key_id(PUBLIC), key_id(other)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a key",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        # On a curve that the library does not know.
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQ8DQgAE"
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
        "-----END PUBLIC KEY-----",
    ],
)
def test_a_file_without_a_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"keys\.pem"):
        read_public_keys(text, source="keys.pem")
