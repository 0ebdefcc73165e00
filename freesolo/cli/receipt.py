"""`freesolo receipt`: what the hub has signed for a version."""

from pathlib import Path

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.receipts import SignedPayload, check_says, read_public_keys, verify_receipt
from freesolo.domain.refs import EnvRef
from freesolo.schemas.receipts import ReceiptPayload


@click.command()
@click.argument("ref")
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the public keys that you trust, in PEM; those the hub shows by default.",
)
@json_option("payload, key_id, signature")
@pass_app
def receipt(app: App, ref: str, *, key_file: Path | None) -> None:
    """Fetch and verify the hub's receipt for the version that REF means.

    It is verified that one of the keys signed it, that it speaks of what the hub gives out as this
    version now, and that the feed of changes still holds what it held then.
    """
    version = app.hub.resolve(EnvRef.parse(ref))
    found = app.hub.receipt(version)
    signed = SignedPayload(found.payload, found.key_id, found.signature)
    if key_file:
        text, source = key_file.read_text(errors="replace"), str(key_file)
    else:
        text, source = app.hub.signing_keys(), app.hub.url
    verify_receipt(signed, read_public_keys(text, source=source))
    says = ReceiptPayload.model_validate(found.payload)
    check_says(
        signed,
        {
            "version": version.version,
            "tree_digest": version.tree_digest,
            "archive_digest": version.archive_digest,
            "feed_hash": app.hub.feed_hash(says.serial),
        },
    )
    app.out.document(found.model_dump(mode="json"))
    app.out.fields(
        {
            "version": f"{says.ref} {says.version}",
            "tree": says.tree_digest,
            "archive": f"{says.archive_digest} ({says.size} bytes)",
            "published": f"{says.published_at:%Y-%m-%d %H:%M:%S} UTC",
            "change": f"{says.serial} {says.feed_hash}",
            "key": found.key_id,
        }
    )
    app.out.talk("The receipt is good.")
    if key_file is None:
        app.out.next_step(f"freesolo receipt {ref} --key FILE  # with a key you got another way")
