"""`freesolo train`."""

from collections.abc import Sequence
from pathlib import Path

import click

from freesolo.cli.context import App, json_option
from freesolo.cli.estimates import show_estimate, summary, tell_misfit
from freesolo.cli.follow import show_outcome, watch
from freesolo.cli.lineage import adapter_line, teacher_line
from freesolo.cli.run_secrets import RunSecrets, find_run_secrets
from freesolo.domain.lifecycle import RunState
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import parse_document, parse_train_spec
from freesolo.errors import InvalidTrainSpec
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
@click.option(
    "--cost",
    is_flag=True,
    help="Estimate time, memory and price as well as checking, and stop there.",
)
@click.option("--background", is_flag=True, help="Submit and leave; the run goes on.")
@json_option(
    "id, state, adapter_revision, attempt, spec, environment (ref, version, tree_digest), metrics (last values), step, total_steps, error, hints[] (code, mood, message), created_at, started_at, ended_at; with --dry-run spec, environment, model_revision, warm_start, teacher, secrets, job_secrets, estimate; with --cost estimate"
)
@click.pass_context
def train(
    context: click.Context,
    config: Path,
    *,
    overrides: Sequence[str],
    dry_run: bool,
    cost: bool,
    background: bool,
) -> None:
    """Train an adapter as CONFIG says and watch the run to its end.

    Ctrl-C stops watching, never the run. Secrets that the environment or a tracker needs come from
    the shell, .env.local or .env of the current folder, else from those stored for the project.
    """
    app: App = context.obj
    document = parse_document(_read(config), overrides)
    spec = parse_train_spec(document)
    secrets = find_run_secrets(app, EnvRef.parse(spec.environment.id), spec)
    if cost:
        _show_cost(app, app.hub.plan_run(document, secrets.handed))
        return
    if dry_run:
        _show_plan(app, app.hub.plan_run(document, secrets.handed), secrets)
        return
    run = app.hub.create_run(document, secrets.handed)
    app.out.talk(f"{run.id}: {run.environment.ref} {run.environment.version} on {run.model}")
    secrets.tell(app)
    if not background:
        if run.waits_because:
            app.out.talk(run.waits_because)
        run = watch(app, run.id)
    show_outcome(app, run)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        context.exit(1)


def _read(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidTrainSpec(f"{config} is not text in UTF-8.") from None


def _show_cost(app: App, plan: RunPlan) -> None:
    app.out.document({"estimate": plan.model_dump(mode="json")["estimate"]})
    show_estimate(app.out, plan.estimate)
    app.out.talk("Nothing was submitted.")


def _show_plan(app: App, plan: RunPlan, secrets: RunSecrets) -> None:
    app.out.document(plan.model_dump(mode="json"))
    app.out.fields(
        {
            "environment": f"{plan.environment.ref} {plan.environment.version}",
            "tree digest": plan.environment.tree_digest,
            "model": f"{plan.spec.model} ({plan.model_revision})",
            "algorithm": plan.spec.algorithm,
            **({"goes on from": adapter_line(plan.warm_start)} if plan.warm_start else {}),
            **({"teacher": teacher_line(plan.teacher)} if plan.teacher else {}),
            "estimate": summary(plan.estimate),
            **{name: f"from {secrets.source(name)}" for name in (*plan.secrets, *plan.job_secrets)},
        }
    )
    tell_misfit(app.out, plan.estimate)
    for warning in plan.warnings:
        app.out.talk(f"Warning: {warning}")
    app.out.talk("The config is good. Nothing was submitted.")
