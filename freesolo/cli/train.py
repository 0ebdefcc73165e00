"""`freesolo train`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from freesolo.cli.context import App, json_option
from freesolo.cli.follow import show_outcome, watch
from freesolo.domain.lifecycle import RunState
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import TrainSpec, job_secrets, parse_document, parse_train_spec
from freesolo.errors import InvalidTrainSpec
from freesolo.package.local_secrets import LocalSecret, find_secrets
from freesolo.schemas.runs import RunPlan


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as train.max_steps=20. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Make every check of a submit, and stop there.")
@click.option("--background", is_flag=True, help="Submit and leave; the run goes on.")
@json_option(
    "id, state, adapter_revision, attempt, spec, environment (ref, version, tree_digest), metrics (last values), step, total_steps, error, hints[] (code, mood, message), created_at, started_at, ended_at"
)
@click.pass_context
def train(
    context: click.Context,
    config: Path,
    *,
    overrides: Sequence[str],
    dry_run: bool,
    background: bool,
) -> None:
    """Train an adapter as CONFIG says and watch the run to its end.

    Ctrl-C stops watching, never the run. Secrets that the environment or a tracker needs come from
    the shell, .env.local or .env of the current folder, else from those stored for the project.
    """
    app: App = context.obj
    document = parse_document(_read(config), overrides)
    spec = parse_train_spec(document)
    declared = _environment_secrets(app, spec)
    local = find_secrets({*declared, *job_secrets(spec)}, Path.cwd())
    handed = {name: secret.value for name, secret in local.items()}
    if dry_run:
        _show_plan(app, app.hub.plan_run(document, handed), local)
        return
    run = app.hub.create_run(document, handed)
    app.out.talk(f"{run.id}: {run.environment.ref} {run.environment.version} on {run.model}")
    for name in declared:
        app.out.talk(f"Its environment gets {name} from {_source(name, local)}.")
    for name in job_secrets(spec):
        app.out.talk(f"Its training process gets {name} from {_source(name, local)}.")
    if not background:
        run = watch(app, run.id)
    show_outcome(app, run)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        context.exit(1)


def _read(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidTrainSpec(f"{config} is not text in UTF-8.") from None


def _environment_secrets(app: App, spec: TrainSpec) -> list[str]:
    """Return the names of the secrets that the run's environment gets, as the hub will see it."""
    version = app.environments.ask(EnvRef.parse(spec.environment.id))
    known = app.hub.info(EnvRef.parse(f"{version.ref}@{version.version}"))
    return sorted({*known.secrets, *spec.environment.secrets})


def _source(name: str, local: Mapping[str, LocalSecret]) -> str:
    return local[name].source if name in local else "the project's stored secrets"


def _show_plan(app: App, plan: RunPlan, local: Mapping[str, LocalSecret]) -> None:
    app.out.document(plan.model_dump(mode="json"))
    app.out.fields(
        {
            "environment": f"{plan.environment.ref} {plan.environment.version}",
            "tree digest": plan.environment.tree_digest,
            "model": f"{plan.spec.model} ({plan.model_revision})",
            "algorithm": plan.spec.algorithm,
            **{name: f"from {_source(name, local)}" for name in plan.secrets},
        }
    )
    app.out.talk("The config is good. Nothing was submitted.")
