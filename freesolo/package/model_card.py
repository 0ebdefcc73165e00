"""The README.md of an exported adapter: how to use it, and everything that made it.

It is a model card as the Hugging Face hub reads them, and holds nothing that is secret.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import tomlkit

from freesolo.domain.catalog import BaseModelEntry, HubSource, LocalSource, PackagedGGUFSource
from freesolo.engines import rank_room
from freesolo.package.secrets import find_secrets
from freesolo.schemas.adapters import SavedAdapter
from freesolo.schemas.environments import EnvironmentPin
from freesolo.schemas.runs import RunDetail

CARD = "README.md"
# What the trainer puts beside the weights; adapters that others made have none.
PROVENANCE = "provenance.json"
# Where the metrics went did not make the adapter, and is nobody else's business.
_PRIVATE_TABLES = frozenset({"wandb", "trackio"})
_TIME = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True)
class PublicModel:
    """How a stranger finds a base model: its id, and the commit if it has one."""

    id: str
    commit: str | None = None


@dataclass(frozen=True)
class Measured:
    """A metric, as it was in the run's first step and in the step that saved the adapter."""

    name: str
    first: float
    last: float


@dataclass(frozen=True)
class Exported:
    """Who took an adapter along, and when."""

    org: str
    who: str
    at: datetime


@dataclass(frozen=True)
class CardFacts:
    """What a card tells. `files` are SHA-256 digests by name.

    `merged` is set for a whole model, and says what its weights are.
    """

    adapter: SavedAdapter
    run: RunDetail
    exported: Exported
    metrics: Sequence[Measured]
    environment_license: str | None
    files: Mapping[str, str]
    merged: str | None = None


def public_model(adapter: SavedAdapter) -> PublicModel:
    """Return what a stranger can find the base model by: its place on a public hub, else its id."""
    entry = adapter.base_model
    if entry is not None and isinstance(entry.source, HubSource):
        return PublicModel(entry.source.repo, entry.revision)
    return PublicModel(adapter.model)


def model_card(facts: CardFacts) -> str:
    """Write the card."""
    sections = (
        _front_matter(facts),
        _title(facts),
        _use_merged(facts) if facts.merged else _use(facts),
        _origin(facts),
        _config(facts),
        _metrics(facts),
        _packages(facts),
        _digests(facts),
        _licence(facts),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: CardFacts) -> str:
    algorithm = facts.adapter.algorithm
    return "\n".join(
        [
            "---",
            f"base_model: {public_model(facts.adapter).id}",
            f"base_model_relation: {'finetune' if facts.merged else 'adapter'}",
            f"library_name: {'transformers' if facts.merged else 'peft'}",
            "pipeline_tag: text-generation",
            "tags:",
            *(f"- {tag}" for tag in ("freesolo", "lora", algorithm)),
            "---",
        ]
    )


def _title(facts: CardFacts) -> str:
    adapter = facts.adapter
    what = (
        f"`{public_model(adapter).id}` with a LoRA adapter of rank {adapter.rank} merged into its "
        f"weights ({facts.merged})"
        if facts.merged
        else f"A LoRA adapter of rank {adapter.rank} for `{public_model(adapter).id}`"
    )
    return (
        f"# {adapter.run_id}, step {adapter.step}\n\n"
        f"{what}, trained with {adapter.algorithm.upper()} on the environment "
        f"`{adapter.environment.ref}` {adapter.environment.version} by Freesolo."
    )


def _use(facts: CardFacts) -> str:
    adapter = facts.adapter
    base = public_model(adapter)
    pin = f', revision="{base.commit}"' if base.commit else ""
    flag = f" --revision {base.commit}" if base.commit else ""
    return "\n\n".join(
        [
            "## Use",
            _weights_note(adapter.base_model),
            "With PEFT (`FOLDER` is this folder):",
            _fenced(
                "python",
                "from peft import PeftModel\n"
                "from transformers import AutoModelForCausalLM\n\n"
                f'base = AutoModelForCausalLM.from_pretrained("{base.id}"{pin}, dtype="auto")\n'
                'model = PeftModel.from_pretrained(base, "FOLDER")',
            ),
            "With `transformers` alone, where PEFT is installed:",
            _fenced(
                "python",
                "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                f'tokenizer = AutoTokenizer.from_pretrained("{base.id}"{pin})\n'
                f'model = AutoModelForCausalLM.from_pretrained("{base.id}"{pin}, dtype="auto")\n'
                'model.load_adapter("FOLDER")',
            ),
            "With vLLM, under the name of its run:",
            _fenced(
                "sh",
                f"vllm serve {base.id}{flag} --enable-lora "
                f"--max-lora-rank {rank_room(adapter.rank)} "
                f"--lora-modules {adapter.run_id}=FOLDER",
            ),
            _thinking_note(facts),
        ]
    )


def _use_merged(facts: CardFacts) -> str:
    parts = [
        "## Use",
        _weights_note(facts.adapter.base_model),
        "With `transformers` (`FOLDER` is this folder):",
        _fenced(
            "python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
            'model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")',
        ),
        "With vLLM, under the name of its run:",
        _fenced("sh", f"vllm serve FOLDER --served-model-name {facts.adapter.run_id}"),
        _thinking_note(facts),
    ]
    if facts.adapter.base_model is not None and facts.adapter.base_model.images:
        parts.append(
            "The base model reads images too. This is its language model, which is what was trained."
        )
    return "\n\n".join(parts)


def _weights_note(entry: BaseModelEntry | None) -> str:
    """Say where the weights that it was trained on are, and whether others can have them."""
    match entry.source if entry else None:
        case HubSource(repo=repo):
            return f"It was trained on the weights of `{repo}` at the commit below."
        case PackagedGGUFSource(package=package, file=file):
            return (
                f"It was trained on the weights in `{file}` of the Python package `{package}`, "
                "converted to bfloat16. The published weights of that id are not rounded like those, so "
                "answers can differ a little on them."
            )
        case LocalSource():
            return (
                "The base model is a folder of the platform that it was trained on, which calls it so; "
                "whether it can be had elsewhere is not known."
            )
        case _:
            return (
                "The platform has this revision of the base model in its catalog no more, and cannot "
                "say where it is."
            )


def _thinking_note(facts: CardFacts) -> str:
    thinks = facts.run.spec.get("thinking") is True
    return (
        f"It was trained {'to think before it answers' if thinks else 'to answer without thinking'}, "
        "so, where the chat template knows the difference, write prompts with "
        f"`enable_thinking={thinks}`."
    )


def _origin(facts: CardFacts) -> str:
    adapter, run = facts.adapter, facts.run
    made_by = run.provenance
    rows = {
        "revision": f"`{adapter.revision}`",
        "base model": f"`{adapter.model}`, revision `{adapter.model_revision}`",
        "environment": _environment(adapter.environment),
        "seed": f"{run.spec.get('seed')}",
        "trained by": f"org `{facts.exported.org}`, attempt {run.attempt} of `{run.id}`",
        "begun": _moment(run.started_at),
        "ended": _moment(run.ended_at),
        "exported": f"by {facts.exported.who}, {_moment(facts.exported.at)}",
    }
    if run.warm_start is not None:
        parent = run.warm_start
        rows["went on from"] = f"`{parent.run_id}/step-{parent.step}`, `{parent.tree_digest}`"
    if made_by is not None:
        device = made_by.device
        parts = (device.kind, device.instructions, f"threads: {device.threads}")
        rows["trained on"] = ", ".join(filter(None, parts))
        if made_by.environment.builds_on:
            rows["it builds on"] = "; ".join(map(_environment, made_by.environment.builds_on))
        if made_by.sampler:
            rows["sampler"] = made_by.sampler
    told = {name: value for name, value in rows.items() if value}
    section = "## How it was made\n\n" + _table(("", ""), list(told.items()))
    if PROVENANCE in facts.files:
        section += f"\n\n`{PROVENANCE}` holds all of it for programs."
    return section


def _config(facts: CardFacts) -> str:
    return "### Config\n\nWhole, with all defaults.\n\n" + _fenced("toml", _toml(facts.run.spec))


def _toml(spec: Mapping[str, object]) -> str:
    shown = {
        key: _without_nothing(value)
        for key, value in spec.items()
        if key not in _PRIVATE_TABLES and value is not None
    }
    lines = tomlkit.dumps(shown).rstrip().splitlines()
    for secret in find_secrets("config", ["\n".join(lines).encode()]):
        # An author may have written one into the parameters of the environment.
        lines[secret.line - 1] = f"# A line is left out: it holds what looks like a {secret.kind}."
    return "\n".join(lines)


def _without_nothing(value: object) -> object:
    """Leave out what is None, which TOML cannot say."""
    if isinstance(value, Mapping):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nothing(each) for each in value if each is not None]
    return value


def _metrics(facts: CardFacts) -> str:
    if not facts.metrics:
        return ""
    rows = [(each.name, f"{each.first:.4g}", f"{each.last:.4g}") for each in facts.metrics]
    return "### Metrics\n\n" + _table(("", "first step", f"step {facts.adapter.step}"), rows)


def _packages(facts: CardFacts) -> str:
    made_by = facts.run.provenance
    if made_by is None:
        return ""
    environment = made_by.environment
    rows = [("trainer", "python", made_by.python)]
    rows += [("trainer", name, version) for name, version in made_by.packages.items()]
    if environment.python is not None:
        rows.append(("environment", "python", environment.python))
    own = environment.packages or {}
    rows += [("environment", name, version) for name, version in own.items()]
    return "### Packages\n\n" + _table(("of", "package", "version"), rows)


def _digests(facts: CardFacts) -> str:
    adapter = facts.adapter
    rows = [
        ("the adapter, as the platform keeps it (tree digest)", f"`{adapter.tree_digest}`"),
        *((f"`{name}`", f"`{digest}`") for name, digest in sorted(facts.files.items())),
    ]
    return "## Digests\n\n" + _table(("of", "SHA-256"), rows)


def _licence(facts: CardFacts) -> str:
    environment = facts.adapter.environment.ref
    known = (
        f"The environment `{environment}`, its data included, is under `{facts.environment_license}`."
        if facts.environment_license
        else f"The licence of the environment `{environment}` is not known here."
    )
    return (
        "## Licence\n\nNobody has stated one for these weights. What is made from a base model is "
        f"bound by its licence, which is on the page of `{public_model(facts.adapter).id}`. {known}"
    )


def _environment(pin: EnvironmentPin) -> str:
    return f"`{pin.ref}` {pin.version}, `{pin.tree_digest}`"


def _moment(at: datetime | None) -> str:
    return f"{at:{_TIME}}" if at else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _fenced(language: str, text: str) -> str:
    """Write text as a block of code, whatever it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
