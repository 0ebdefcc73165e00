"""`freesolo deploy`, `deployments`, `rollback` and `undeploy`."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.lifecycle import DEPLOYMENT_ENDED, DeploymentState
from freesolo.domain.refs import AdapterRef
from freesolo.errors import Unavailable, from_wire
from freesolo.schemas.deployments import Deployment, DeploymentPlan

_POLL_SECONDS = 0.5
_DOCUMENT = "model, revision, state, staged, active, openai_base_url, id, base_model, error, created_at, ready_at"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _wait_options(command: _Command) -> _Command:
    """Add `--wait` and `--timeout`."""
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=900.0,
        show_default=True,
        help="Seconds to stay with --wait; the deployment itself goes on.",
    )
    wait = click.option(
        "--wait", is_flag=True, help="Stay until the adapter answers, or has failed to."
    )
    return wait(timeout(command))


@click.command()
@click.argument("adapter")
@click.option(
    "--stage",
    is_flag=True,
    help="Serve it by its full revision only; a later deploy without this moves the alias.",
)
@click.option("--dry-run", is_flag=True, help="Make every check of the hub, and stop there.")
@_wait_options
@json_option(
    f"{_DOCUMENT}; with --dry-run model, revision, base_model, active_revision, moves_alias, deployment"
)
@pass_app
def deploy(
    app: App, adapter: str, *, stage: bool, dry_run: bool, wait: bool, timeout: float
) -> None:
    """Serve ADAPTER (RUN_ID, RUN_ID/step-N or a revision) under its run's id.

    The alias RUN_ID moves to it once it has passed its smoke. Revisions that were served before go
    on answering by their full names, until `undeploy`.
    """
    if dry_run:
        _show_plan(app, app.hub.plan_deployment(adapter, stage=stage))
        return
    deployment = app.hub.deploy(adapter, stage=stage)
    if wait:
        deployment = _follow(app, deployment, timeout=timeout)
    _show(app, deployment, staged=stage)


@click.command()
@click.argument("model")
@_wait_options
@json_option(_DOCUMENT)
@pass_app
def rollback(app: App, model: str, *, wait: bool, timeout: float) -> None:
    """Let the alias MODEL point to what it pointed to before.

    That is deployed again, with its smoke. Rolling back twice returns, as `cd -` does; to go
    further back, deploy the revision.
    """
    deployment = app.hub.roll_back(model)
    if wait:
        deployment = _follow(app, deployment, timeout=timeout)
    _show(app, deployment, staged=False)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what failed or was withdrawn.")
@json_option(
    "deployments[] (model, revision, state, staged, active, id, base_model, error, created_at, ready_at)"
)
@pass_app
def deployments(app: App, *, everything: bool) -> None:
    """List what is served, and what is on its way.

    An alias answers as its active revision; whatever is ready answers by its revision.
    """
    found = app.hub.deployments(everything=everything)
    app.out.document({"deployments": [_document(item) for item in found]})
    app.out.table(
        ("model", "state", "active", "revision", "created"),
        [
            (
                item.model,
                item.state,
                "yes" if item.active else "",
                item.revision,
                f"{item.created_at:%Y-%m-%d %H:%M}",
            )
            for item in found
        ],
    )


@click.command()
@click.argument("model")
@json_option("model, state")
@pass_app
def undeploy(app: App, model: str) -> None:
    """Stop serving MODEL; the adapters stay and can be deployed again.

    A run's id withdraws the alias and every revision of it; RUN_ID/step-N or a full revision
    withdraws that one, unless the alias points to it.
    """
    app.hub.undeploy(model)
    app.out.document({"model": model, "state": DeploymentState.UNDEPLOYED})
    app.out.data(f"{model} is no longer served.")
    beside = "" if model == AdapterRef.parse(model).run_id else " --stage"
    app.out.next_step(f"freesolo deploy {model}{beside} --wait")


def _show_plan(app: App, plan: DeploymentPlan) -> None:
    app.out.document(plan.model_dump(mode="json"))
    app.out.fields(
        {
            "model": plan.model,
            "revision": plan.revision,
            "base model": plan.base_model,
            "alias now": plan.active_revision or "points to nothing",
            "alias then": plan.revision if plan.moves_alias else "stays as it is",
        }
    )
    if plan.deployment is not None:
        app.out.talk(f"It is served, or on its way, as {plan.deployment}.")
    app.out.talk(
        "Every check of the hub passed; the engine's come with the deploy. Nothing was deployed."
    )


def _follow(app: App, deployment: Deployment, *, timeout: float) -> Deployment:
    """Wait until a deployment is ready; raise what it failed with."""
    deadline = time.monotonic() + timeout
    app.out.talk(f"Deploying {deployment.revision}")
    state = None
    with app.out.progress("deploying") as bar:
        while deployment.state not in DEPLOYMENT_ENDED:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{deployment.revision} is still {deployment.state} after {timeout:.0f} s.",
                    hint="It goes on; `freesolo deployments` shows how far it is.",
                )
            time.sleep(_POLL_SECONDS)
            # A hub that starts again is away for a moment.
            with suppress(Unavailable):
                deployment = app.hub.deployment(deployment.id)
            if deployment.state is not state:
                state = deployment.state
                app.out.talk(f"  {state}")
            bar.show(0, None, note=deployment.state)
    _raise_failure(deployment)
    return deployment


def _raise_failure(deployment: Deployment) -> None:
    if deployment.state is DeploymentState.READY:
        return
    if deployment.error is None:
        raise Unavailable(
            f"{deployment.revision} was withdrawn meanwhile, or deployed anew.",
            hint="`freesolo deployments` shows what is served.",
        )
    raise from_wire({"error": deployment.error.model_dump()}, 500)


def _show(app: App, deployment: Deployment, *, staged: bool) -> None:
    url = f"{app.hub.whoami().gateway_url}/v1"
    app.out.document({**_document(deployment), "openai_base_url": url})
    app.out.fields(
        {
            "model": deployment.model,
            "revision": deployment.revision,
            "state": deployment.state,
            "openai base url": url,
        }
    )
    if deployment.state is not DeploymentState.READY:
        app.out.next_step("freesolo deployments")
    elif deployment.active:
        app.out.next_step(f'freesolo chat {deployment.model} -m "..."')
    else:
        if not staged:
            app.out.talk(f"{deployment.model} points to a later deployment; this is served beside.")
        app.out.next_step(f'freesolo chat {deployment.revision} -m "..."')
        app.out.next_step(f"freesolo deploy {deployment.revision} --wait")


def _document(deployment: Deployment) -> dict[str, object]:
    return deployment.model_dump(mode="json")
