"""`freesolo deploy`, `deployments` and `undeploy`."""

import time
from contextlib import suppress

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.domain.lifecycle import DEPLOYMENT_ENDED, DeploymentState
from freesolo.errors import Unavailable, from_wire
from freesolo.schemas.deployments import Deployment

_POLL_SECONDS = 0.5


@click.command()
@click.argument("adapter")
@click.option("--wait", is_flag=True, help="Stay until the adapter answers, or has failed to.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    help="Seconds to stay with --wait.",
)
@json_option(
    "model, revision, state, openai_base_url, id, base_model, active, error, created_at, ready_at"
)
@pass_app
def deploy(app: App, adapter: str, *, wait: bool, timeout: float) -> None:
    """Serve ADAPTER (RUN_ID, RUN_ID/step-N or a revision) under its run's id."""
    deployment = app.hub.deploy(adapter)
    if wait:
        deployment = _follow(app, deployment, timeout=timeout)
        _raise_failure(deployment)
    who = app.hub.whoami()
    app.out.document({**_document(deployment), "openai_base_url": f"{who.gateway_url}/v1"})
    app.out.fields(
        {
            "model": deployment.model,
            "revision": deployment.revision,
            "state": deployment.state,
            "openai base url": f"{who.gateway_url}/v1",
        }
    )
    if deployment.state is DeploymentState.READY:
        app.out.next_step(f'freesolo chat {deployment.model} -m "..."')
    else:
        app.out.next_step("freesolo deployments")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what failed or was withdrawn.")
@json_option(
    "deployments[] (model, revision, state, active, id, base_model, error, created_at, ready_at)"
)
@pass_app
def deployments(app: App, *, everything: bool) -> None:
    """List what is served, and what is on its way."""
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
    """Stop serving MODEL; the adapter stays and can be deployed again."""
    app.hub.undeploy(model)
    app.out.document({"model": model, "state": DeploymentState.UNDEPLOYED})
    app.out.data(f"{model} is no longer served.")
    app.out.next_step(f"freesolo deploy {model} --wait")


def _follow(app: App, deployment: Deployment, *, timeout: float) -> Deployment:
    deadline = time.monotonic() + timeout
    app.out.talk(f"Deploying {deployment.revision}")
    state = None
    with app.out.progress("deploying") as bar:
        while deployment.state not in DEPLOYMENT_ENDED:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{deployment.model} is still {deployment.state} after {timeout:.0f} s.",
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
    return deployment


def _raise_failure(deployment: Deployment) -> None:
    if deployment.state is DeploymentState.READY:
        return
    if deployment.error is None:
        raise Unavailable(f"The deployment of {deployment.model} was withdrawn meanwhile.")
    raise from_wire({"error": deployment.error.model_dump()}, 500)


def _document(deployment: Deployment) -> dict[str, object]:
    return deployment.model_dump(mode="json")
