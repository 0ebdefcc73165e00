"""The hub's routes as methods: one call each, wire models in and out."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

from freesolo.client.access import AccessCalls
from freesolo.client.accounts import AccountCalls
from freesolo.client.changes import ChangeCalls
from freesolo.client.connection import path_part
from freesolo.client.evaluations import EvaluationCalls
from freesolo.client.lifecycle import LifecycleCalls
from freesolo.client.publishing import PublishingCalls
from freesolo.client.search import SearchCalls
from freesolo.client.secrets import SecretCalls
from freesolo.client.usage import UsageCalls
from freesolo.domain.catalog import BaseModelEntry
from freesolo.domain.refs import AdapterRef, EnvRef
from freesolo.schemas.adapters import SavedAdapter
from freesolo.schemas.base_models import Model, ModelList
from freesolo.schemas.contents import FileEntry, FileList
from freesolo.schemas.deployments import (
    Deployment,
    DeploymentList,
    DeploymentPlan,
    NewDeployment,
)
from freesolo.schemas.environments import (
    EnvironmentDetail,
    ResolvedVersion,
    VersionIndex,
)
from freesolo.schemas.runs import (
    Checkpoint,
    CheckpointList,
    EventPage,
    MetricsPage,
    NewRun,
    Run,
    RunDetail,
    RunList,
    RunPlan,
    RunSample,
    SampleList,
    StepMetrics,
)


class HubClient(
    AccessCalls,
    AccountCalls,
    ChangeCalls,
    EvaluationCalls,
    LifecycleCalls,
    PublishingCalls,
    SearchCalls,
    SecretCalls,
    UsageCalls,
):
    """A connection to one hub with one key. Every method raises the hub's own errors."""

    def models(self) -> list[Model]:
        """Return the catalog of base models."""
        return self._get(ModelList, "/v1/models").models

    def add_model(self, entry: BaseModelEntry) -> Model:
        """Add a base model to the org's catalog."""
        return self._send("POST", "/v1/models", entry, Model)

    def remove_model(self, model_id: str) -> None:
        """Take a base model out of the org's catalog."""
        self._transport.request("DELETE", f"/v1/models/{path_part(model_id)}")

    def environment(self, ref: EnvRef) -> EnvironmentDetail:
        """Return an environment with all its versions, newest first."""
        return self._get(EnvironmentDetail, f"/v1/envs/{ref.full_name}")

    def index(self, ref: EnvRef) -> VersionIndex:
        """Return all versions of an environment, with what a resolver needs to know of them."""
        return self._get(VersionIndex, f"/v1/envs/{ref.full_name}/index")

    def resolve(self, ref: EnvRef) -> ResolvedVersion:
        """Return the one version that a reference means now."""
        return self._get(
            ResolvedVersion, f"/v1/envs/{ref.full_name}/resolve", spec=ref.selector.text
        )

    def download(self, version: ResolvedVersion, destination: Path) -> None:
        """Write a version's archive, as the hub stored it, to `destination`."""
        self._transport.download(
            f"/v1/envs/{version.ref}/versions/{version.version}/archive", destination
        )

    def files(self, version: ResolvedVersion) -> list[FileEntry]:
        """Return every file of a version, with its digest."""
        path = f"/v1/envs/{version.ref}/versions/{version.version}/files"
        return self._get(FileList, path).files

    def download_file(self, version: ResolvedVersion, path: str, destination: Path) -> None:
        """Write one file of a version to `destination`."""
        folder = f"/v1/envs/{version.ref}/versions/{version.version}/files"
        self._transport.download(f"{folder}/{quote(path)}", destination)

    def create_run(
        self, document: dict[str, object], secrets: Mapping[str, str] | None = None
    ) -> Run:
        """Submit a training config and return the queued run; `secrets` are for it alone."""
        response = self._transport.request(
            "POST",
            "/v1/runs",
            json_body=_new_run(document, secrets),
            # The key makes the submit safe to repeat: a lost answer does not start a second run.
            headers={"Idempotency-Key": token_hex(16)},
        )
        return self._read(Run, response)

    def plan_run(
        self, document: dict[str, object], secrets: Mapping[str, str] | None = None
    ) -> RunPlan:
        """Make every check of a submit and return what would be trained."""
        body = {**_new_run(document, secrets), "dry_run": True}
        return self._read(RunPlan, self._transport.request("POST", "/v1/runs", json_body=body))

    def runs(self, *, limit: int) -> list[Run]:
        """Return the newest runs of the org, at most `limit`."""
        pages = self._pages(RunList, "/v1/runs", limit=min(limit, 100))
        return list(islice((run for page in pages for run in page.runs), limit))

    def reproduce_run(self, run_id: str, secrets: Mapping[str, str] | None = None) -> Run:
        """Queue a run again, bound to what it was bound to; `secrets` are for the new one alone."""
        response = self._transport.request(
            "POST",
            f"/v1/runs/{path_part(run_id)}/reproduce",
            json_body={"secrets": dict(secrets or {})},
            headers={"Idempotency-Key": token_hex(16)},
        )
        return self._read(Run, response)

    def run(self, run_id: str) -> RunDetail:
        """Return one run, with what made it and how each attempt at it went."""
        return self._get(RunDetail, f"/v1/runs/{path_part(run_id)}")

    def run_events(self, run_id: str, *, after: int) -> EventPage:
        """Return the events that follow number `after`, oldest first, a page at a time."""
        return self._get(EventPage, f"/v1/runs/{path_part(run_id)}/events", after=after)

    def run_metrics(self, run_id: str) -> list[StepMetrics]:
        """Return what was measured in each step of a run, by rising step."""
        pages = self._pages(MetricsPage, f"/v1/runs/{path_part(run_id)}/metrics")
        return [step for page in pages for step in page.steps]

    def run_samples(
        self, run_id: str, *, step: int | None = None, page_size: int = 100
    ) -> Iterator[RunSample]:
        """Yield samples of a run, or of one step of it, the newest first."""
        path = f"/v1/runs/{path_part(run_id)}/samples"
        for page in self._pages(SampleList, path, step=step, limit=page_size):
            yield from page.samples

    def newest_sample(self, run_id: str) -> RunSample | None:
        """Return the sample that arrived last: of its step's, the best."""
        return next(self.run_samples(run_id, page_size=1), None)

    def cancel_run(self, run_id: str) -> Run:
        """Ask a run to stop; what it saved stays."""
        response = self._transport.request("POST", f"/v1/runs/{path_part(run_id)}/cancel")
        return self._read(Run, response)

    def checkpoints(self, run_id: str) -> list[Checkpoint]:
        """Return what a run has saved, by rising step."""
        return self._get(CheckpointList, f"/v1/runs/{path_part(run_id)}/checkpoints").checkpoints

    def adapter(self, ref: AdapterRef) -> SavedAdapter:
        """Return the adapter that a reference means now."""
        return self._get(SavedAdapter, f"/v1/adapters/{path_part(str(ref))}")

    def download_adapter(
        self, revision: str, destination: Path, *, received: Callable[[int], None]
    ) -> None:
        """Write an adapter's archive to `destination`; `received` hears of the bytes that have come."""
        path = f"/v1/adapters/{path_part(revision)}/archive"
        self._transport.download(path, destination, received=received)

    def deploy(self, adapter: str, *, stage: bool = False) -> Deployment:
        """Ask for an adapter to be served under its run's id, or with `stage` by its revision only."""
        response = self._transport.request(
            "POST",
            "/v1/deployments",
            json_body=NewDeployment(adapter=adapter, stage=stage).model_dump(),
            headers={"Idempotency-Key": token_hex(16)},
        )
        return self._read(Deployment, response)

    def plan_deployment(self, adapter: str, *, stage: bool = False) -> DeploymentPlan:
        """Make every check of a deploy and return what it would do."""
        body = NewDeployment(adapter=adapter, stage=stage, dry_run=True).model_dump()
        response = self._transport.request("POST", "/v1/deployments", json_body=body)
        return self._read(DeploymentPlan, response)

    def roll_back(self, model: str) -> Deployment:
        """Ask for what an alias pointed to before to be served under it again."""
        response = self._transport.request(
            "POST",
            f"/v1/deployments/{path_part(model)}/rollback",
            headers={"Idempotency-Key": token_hex(16)},
        )
        return self._read(Deployment, response)

    def deployments(self, *, everything: bool = False) -> list[Deployment]:
        """Return what is served or coming; with `everything`, also what failed or was withdrawn."""
        wanted = "true" if everything else None
        pages = self._pages(DeploymentList, "/v1/deployments", all=wanted, limit=100)
        return [deployment for page in pages for deployment in page.deployments]

    def deployment(self, deployment_id: str) -> Deployment:
        """Return one deployment."""
        return self._get(Deployment, f"/v1/deployments/{path_part(deployment_id)}")

    def undeploy(self, model: str) -> None:
        """Stop serving an alias with all its revisions, or one revision it does not point to."""
        self._transport.request("DELETE", f"/v1/deployments/{path_part(model)}")


def _new_run(document: dict[str, object], secrets: Mapping[str, str] | None) -> dict[str, object]:
    body = NewRun.model_validate({"spec": document}).model_dump(mode="json")
    # Dumped, the model shows only stars.
    return {**body, "secrets": dict(secrets or {})}
