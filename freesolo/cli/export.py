"""`freesolo export`."""

import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from freesolo.base_models.children import ask
from freesolo.base_models.questions import Merged, Pair
from freesolo.base_models.store import local_path
from freesolo.cli.context import App, json_option, pass_app
from freesolo.cli.follow import MAIN_METRICS
from freesolo.client.adapters import fetch_adapter
from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.refs import AdapterRef, EnvRef
from freesolo.engines import rank_room
from freesolo.errors import Conflict, FolderNotEmpty, Forbidden, InvalidInput, NotFound
from freesolo.package.archive import file_digest
from freesolo.package.cache import list_files
from freesolo.package.model_card import (
    CARD,
    PROVENANCE,
    CardFacts,
    Exported,
    Measured,
    model_card,
    public_model,
)
from freesolo.schemas.adapters import SavedAdapter

_CONFIG = "adapter_config.json"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@click.command()
@click.argument("adapter")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to make; it may be there already if it is empty.",
)
@click.option(
    "--merge",
    is_flag=True,
    help="Write a whole model, in which the adapter is part of the weights. This needs the base "
    "model, and what training needs, on this machine.",
)
@json_option(
    "revision, run_id, step, base_model, base_revision, tree_digest, merged (dtype, parameters; null "
    "without --merge), folder, files[]"
)
@pass_app
def export(app: App, adapter: str, *, target: Path, merge: bool) -> None:
    """Write ADAPTER (RUN_ID, RUN_ID/step-N or a revision) into a folder to use anywhere.

    Plain PEFT, `transformers` and vLLM load it; with --merge, as a model of its own. README.md, a
    model card, says what made it. The folder appears when all of it is there and verified.
    """
    ref = AdapterRef.parse(adapter)
    _refuse_to_overwrite(target)
    saved = app.hub.adapter(ref)
    with _appearing(target) as aside:
        folder = aside / "adapter"
        _fetch(app, saved, folder)
        merged = None
        if merge:
            merged = _merge(app, saved, folder, aside / "merged")
            folder = aside / "merged"
        _write_card(app, saved, folder, merged)
        _move(folder, target)
    files = list_files(target)
    base = public_model(saved)
    app.out.document(
        {
            "revision": saved.revision,
            "run_id": saved.run_id,
            "step": saved.step,
            "base_model": base.id,
            "base_revision": saved.model_revision,
            "tree_digest": saved.tree_digest,
            "merged": merged and merged.model_dump(mode="json"),
            "folder": str(target),
            "files": files,
        }
    )
    app.out.data(f"{saved.revision} {saved.tree_digest}")
    app.out.data(f"{len(files)} files in {target}")
    app.out.next_step(_serve(saved, target, merged=merge))


def _refuse_to_overwrite(target: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise FolderNotEmpty(
            f"{target} holds files already.",
            hint="`--to` names a folder that is made, or is empty; choose another, or empty this one.",
        )
    if target.resolve() == Path.cwd():
        raise InvalidInput(
            f"{target} is the folder that you are in, which cannot be made anew.",
            hint="Name a folder in it, such as `--to adapter`.",
        )


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Make a folder beside `target`, on the same disk, for all that is not yet whole."""
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
        yield Path(aside)


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target.resolve())
    except OSError:
        # Somebody else was faster, and what they wrote is theirs.
        _refuse_to_overwrite(target)
        raise


def _fetch(app: App, saved: SavedAdapter, folder: Path) -> None:
    """Bring the adapter's files into `folder`, and let them name their base model for a stranger."""
    app.out.talk(f"Fetching {saved.revision}")
    with app.out.progress("Downloading", saved.size, of_bytes=True) as bar:
        fetch_adapter(
            app.hub,
            saved,
            folder,
            scratch=folder.parent,
            received=lambda done: bar.show(done, saved.size),
        )
    base = public_model(saved)
    config = json.loads((folder / _CONFIG).read_text())
    config["base_model_name_or_path"] = base.id
    if base.commit is not None:
        # What PEFT fetches the base model at.
        config["revision"] = base.commit
    (folder / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _merge(app: App, saved: SavedAdapter, adapter: Path, folder: Path) -> Merged:
    entry = _base_model(saved)
    base = local_path(entry, app.settings.cache, tell=app.out.talk)
    app.out.talk(f"Merging into {entry.id}")
    with app.out.progress("Merging") as bar:
        bar.show(0, None)
        pair = Pair(base=base, adapter=adapter, folder=folder)
        merged = ask("freesolo.base_models.merge", pair, Merged, env=_OFFLINE)
    if (made_by := adapter / PROVENANCE).is_file():
        made_by.rename(folder / PROVENANCE)
    return merged


def _base_model(saved: SavedAdapter) -> BaseModelEntry:
    if saved.base_model is None:
        raise Conflict(
            f"{saved.run_id} was trained on {saved.model} {saved.model_revision}, which the catalog "
            "has no more.",
            hint="Bring that revision back into the catalog. Without --merge the adapter alone is "
            "exported.",
        )
    return saved.base_model


def _write_card(app: App, saved: SavedAdapter, folder: Path, merged: Merged | None) -> None:
    who = app.hub.whoami()
    facts = CardFacts(
        adapter=saved,
        run=app.hub.run(saved.run_id),
        exported=Exported(
            who.org, f"user `{who.user}`" if who.user else "a key of it", datetime.now(UTC)
        ),
        metrics=_measured(app, saved),
        environment_license=_license(app, saved),
        files={name: file_digest(folder / name) for name in list_files(folder)},
        merged=f"{merged.parameters:,} parameters, {merged.dtype}" if merged else None,
    )
    (folder / CARD).write_text(model_card(facts))


def _measured(app: App, saved: SavedAdapter) -> list[Measured]:
    steps = [each for each in app.hub.run_metrics(saved.run_id) if each.step <= saved.step]
    if not steps:
        return []
    first, last = steps[0].values, steps[-1].values
    return [
        Measured(name, first[name], last[name])
        for name in MAIN_METRICS
        if name in first and name in last
    ]


def _license(app: App, saved: SavedAdapter) -> str | None:
    """Return what the environment is under, unless it is gone or hidden by now."""
    pin = saved.environment
    with suppress(NotFound, Forbidden):
        return app.hub.info(EnvRef.parse(f"{pin.ref}@{pin.tree_digest}")).license or None
    return None


def _serve(saved: SavedAdapter, target: Path, *, merged: bool) -> str:
    folder = shlex.quote(str(target))
    if merged:
        return f"vllm serve {folder} --served-model-name {saved.run_id}"
    return (
        f"vllm serve {public_model(saved).id} --enable-lora --max-lora-rank {rank_room(saved.rank)} "
        f"--lora-modules {saved.run_id}={folder}"
    )
