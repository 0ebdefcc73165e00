"""Every error that a caller of Freesolo can meet, on both sides of the wire.

Classes say who must act; `code` says what happened and never changes once released::

    FreesoloError
      InvalidInput        422  exit 2   the caller: mend the input; `problems` lists what is wrong
        InvalidRef  InvalidManifest  InvalidTrainSpec  InvalidEnvironment  PortInUse
        InvalidBaseModel  InvalidConsumerFile  InvalidLockFile  InvalidFeed  InvalidReceipt
        InvalidSecret  SecretMissing
      NotFound            404  exit 3   the caller: no such thing, or not visible to this key
        EnvironmentNotFound  VersionNotFound  RunNotFound  ModelNotFound  AdapterNotFound ...
      Conflict            409  exit 4   the caller: the state moved
        VersionExists  VersionTombstoned (410)  NameTaken  ChannelMoved
        IllegalTransition  LeaseLost  AlreadyRunning  FolderNotEmpty
        RequirementsConflict  LockOutdated
      Unauthorized        401  exit 5   the caller: no key, or a wrong one
      Forbidden           403  exit 5   the caller: the key may not do this
      LimitExceeded       429  exit 6   the caller: wait `retry_after` seconds, or send less
        RateLimitExceeded   PayloadTooLarge   413   OutOfMemory   QuotaExceeded  403
      EnvironmentFailed   424  exit 7   the environment's author; `traceback` holds their frames
      Unavailable         503  exit 8   nobody: try again
        StorageFull  StorageUnavailable  EngineUnavailable
        HubUnavailable  WorkerLost  JobDied  RunStalled
      Internal            500  exit 70  us

A hub service raises one of these, the hub's one handler writes `to_wire()`, and the client's
transport rebuilds the same class with `from_wire()` and raises it again in the command line.

To add an error: subclass the class that says who must act, set `code`, and describe the code in
docs/reference/errors.md (a test compares the two).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where, what, and a stable code."""

    path: str
    message: str
    code: str = "invalid"


class FreesoloError(Exception):
    """Base of every expected failure. The message is one sentence that names the value."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        problems: Sequence[Problem] = (),
        retry_after: float | None = None,
        traceback: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)
        self.retry_after = retry_after
        self.traceback = traceback

    def to_wire(self) -> dict[str, object]:
        """Return the JSON envelope: `{"error": {"code", "message", "hint", "problems", ...}}`."""
        body: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "problems": [asdict(problem) for problem in self.problems],
        }
        if self.retry_after is not None:
            body["retry_after"] = self.retry_after
        if self.traceback is not None:
            body["traceback"] = self.traceback
        return {"error": body}


class InvalidInput(FreesoloError):
    """The input cannot be accepted as it is."""

    code = "invalid_input"
    http_status = 422
    exit_code = 2


class InvalidRef(InvalidInput, ValueError):
    """Text that is not an environment or adapter reference.

    A `ValueError` too, so that pydantic reports it as a problem of the field that holds the text.
    """

    code = "invalid_ref"


class InvalidManifest(InvalidInput):
    """`environment.toml` does not say what it must."""

    code = "invalid_manifest"


class InvalidTrainSpec(InvalidInput):
    """A training config that cannot become a run."""

    code = "invalid_train_spec"


class InvalidEnvironment(InvalidInput):
    """An environment folder or archive that cannot be published or loaded."""

    code = "invalid_environment"


class InvalidAdapter(InvalidInput):
    """An adapter that its base model cannot serve, or that failed its smoke request."""

    code = "invalid_adapter"


class InvalidBaseModel(InvalidInput):
    """A model that cannot be trained and served here, or whose chat template breaks a rule."""

    code = "invalid_base_model"


class ContextLengthExceeded(InvalidInput):
    """Prompt and answer together have more tokens than the model can read."""

    # OpenAI's word for it, which clients look for.
    code = "context_length_exceeded"


class InvalidConsumerFile(InvalidInput):
    """`freesolo.toml` is missing, or does not say which environments are wanted."""

    code = "invalid_consumer_file"


class InvalidLockFile(InvalidInput):
    """`freesolo.lock`, or a file that it names, is not as it was written."""

    code = "invalid_lock_file"


class InvalidFeed(InvalidInput):
    """The hub's feed of changes is not the unbroken chain that it must be."""

    code = "invalid_feed"


class InvalidReceipt(InvalidInput):
    """A receipt that the hub's key did not sign, or that speaks of something else."""

    code = "invalid_receipt"


class InvalidSecret(InvalidInput, ValueError):
    """A name or value that no secret can have.

    A `ValueError` too, so that pydantic reports it as a problem of the field that holds it.
    """

    code = "invalid_secret"


class SecretMissing(InvalidInput):
    """The environment declares a secret that nobody gave."""

    code = "invalid_secret_missing"


class PortInUse(InvalidInput):
    """Another process listens on the port that was asked for."""

    code = "invalid_port_in_use"


class NotFound(FreesoloError):
    """There is no such thing, or this key may not know of it."""

    code = "not_found"
    http_status = 404
    exit_code = 3


class EnvironmentNotFound(NotFound):
    """No environment has this name."""

    code = "environment_not_found"


class VersionNotFound(NotFound):
    """The environment has no version that matches."""

    code = "version_not_found"


class PackageFileNotFound(NotFound):
    """The version has no file with this path."""

    code = "file_not_found"


class ChannelNotFound(NotFound):
    """The environment has no channel with this name."""

    code = "channel_not_found"


class RunNotFound(NotFound):
    """No run has this id."""

    code = "run_not_found"


class ModelNotFound(NotFound):
    """No base model in the catalog, and no deployed adapter, has this name."""

    code = "model_not_found"


class AdapterNotFound(NotFound):
    """The run has saved no adapter like this."""

    code = "adapter_not_found"


class DeploymentNotFound(NotFound):
    """Nothing is deployed under this name."""

    code = "deployment_not_found"


class ProjectNotFound(NotFound):
    """The organisation has no such project."""

    code = "project_not_found"


class OrgNotFound(NotFound):
    """No organisation of this key has this name."""

    code = "org_not_found"


class UserNotFound(NotFound):
    """Nobody here has this handle."""

    code = "user_not_found"


class KeyNotFound(NotFound):
    """The organisation has no such key."""

    code = "key_not_found"


class BlobNotFound(NotFound):
    """The store holds no bytes with this digest."""

    code = "blob_not_found"


class UploadNotFound(NotFound):
    """No upload of this key has this id: it never began, was refused, or was given up after a day."""

    code = "upload_not_found"


class WebhookNotFound(NotFound):
    """The organisation has no such webhook."""

    code = "webhook_not_found"


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery."""

    code = "delivery_not_found"


class SecretNotFound(NotFound):
    """The project has no stored secret of this name."""

    code = "secret_not_found"


class EvaluationNotFound(NotFound):
    """The organisation keeps no such evaluation, or of an environment that this key may not read."""

    code = "evaluation_not_found"


class TemplateNotFound(NotFound):
    """No template is shipped under this name."""

    code = "template_not_found"


class TaskNotFound(NotFound):
    """The library that `init --from` names has no task of this name."""

    code = "task_not_found"


class Conflict(FreesoloError):
    """The state of the thing does not allow this any more."""

    code = "conflict"
    http_status = 409
    exit_code = 4


class VersionExists(Conflict):
    """This version was published before with other content; versions never change."""

    code = "version_exists_conflict"


class VersionTombstoned(Conflict):
    """This version was deleted; its number is never given to other content."""

    code = "version_tombstoned"
    http_status = 410


class ModelInUse(Conflict):
    """Runs or deployments still need the base model."""

    code = "model_in_use_conflict"


class NameTaken(Conflict):
    """The name belongs to another environment, once did, or looks like one that does."""

    code = "name_taken_conflict"


class ChannelMoved(Conflict):
    """The channel does not stand where whoever moves it believes."""

    code = "channel_moved_conflict"


class UploadOffsetMoved(Conflict):
    """The piece of an upload does not begin where the hub's bytes end."""

    code = "upload_offset_conflict"


class HubNotEmpty(Conflict):
    """A backup can only be restored into a hub that holds nothing yet."""

    code = "hub_not_empty_conflict"


class IllegalTransition(Conflict):
    """A run or deployment cannot go from its state to the one asked for."""

    code = "illegal_transition_conflict"


class LeaseLost(Conflict):
    """The lease on this work has passed to another worker, or ended."""

    code = "lease_lost_conflict"


class ModelMoved(Conflict):
    """The name of the model does not lead, or no longer, to the adapter that was asked for."""

    code = "model_moved_conflict"


class AlreadyRunning(Conflict):
    """A platform already runs on this data folder with other settings."""

    code = "already_running_conflict"


class FolderNotEmpty(Conflict):
    """The folder to write into holds files."""

    code = "folder_not_empty_conflict"


class RequirementsConflict(Conflict):
    """No versions of the environments fit everybody who wants them."""

    code = "requirements_conflict"


class LockOutdated(Conflict):
    """`freesolo.lock` does not hold what `freesolo.toml` wants."""

    code = "lock_outdated_conflict"


class Unauthorized(FreesoloError):
    """No key was given, or the hub does not know it."""

    code = "unauthorized"
    http_status = 401
    exit_code = 5


class RequestNotServable(FreesoloError):
    """A request is well formed, and this model cannot serve it."""

    code = "request_not_servable"
    http_status = 422


class PaymentRequired(FreesoloError):
    """The organisation pays beforehand, and has too little left for this."""

    code = "payment_required"
    http_status = 402
    exit_code = 6


class Forbidden(FreesoloError):
    """The key is good but may not do this."""

    code = "forbidden"
    http_status = 403
    exit_code = 5


class LimitExceeded(FreesoloError):
    """A limit was reached; wait, or ask for more."""

    code = "limit_exceeded"
    http_status = 429
    exit_code = 6


class RateLimitExceeded(LimitExceeded):
    """The key, or its organisation, asks the gateway for more at a time than it may."""

    # OpenAI's word for it, which clients look for.
    code = "rate_limit_exceeded"


class PayloadTooLarge(LimitExceeded):
    """The body is larger than what is accepted."""

    code = "limit_payload"
    http_status = 413


class OutOfMemory(LimitExceeded):
    """The training process needed more memory than its machine or its accelerator has."""

    code = "limit_memory"


class QuotaExceeded(LimitExceeded):
    """The organisation would keep more than it may; waiting does not help, making room does."""

    code = "quota_exceeded"
    http_status = 403


class EnvironmentFailed(FreesoloError):
    """The author's code raised, hung or returned something unusable."""

    code = "env_failed"
    http_status = 424
    exit_code = 7


class RequirementMissing(EnvironmentFailed, ImportError):
    """An environment was loaded into an interpreter that lacks one of its requirements.

    An `ImportError` too, since that is what a caller of `freesolo.load` expects.
    """

    code = "env_requirement_missing"


class Unavailable(FreesoloError):
    """Something that is needed does not answer now; nothing was lost, trying again is right."""

    code = "unavailable"
    http_status = 503
    exit_code = 8


class StorageFull(Unavailable):
    """The disk has no room left; nothing half-written was kept."""

    code = "unavailable_storage_full"


class StorageUnavailable(Unavailable):
    """The hub's store of bytes is down, too slow, or does not keep what it is sent."""

    code = "unavailable_storage"


class HubUnavailable(Unavailable):
    """The hub did not answer for so long that a training process gave up telling it."""

    code = "unavailable_hub"


class WorkerLost(Unavailable):
    """The worker of a run, or the machine that its training process was on, is gone."""

    code = "unavailable_worker_lost"


class JobNotStarted(Unavailable):
    """No machine took the training process of a run."""

    code = "unavailable_job_not_started"


class JobDied(Unavailable):
    """A training process ended without saying why."""

    code = "unavailable_job_died"


class RunStalled(Unavailable):
    """No step of a run ended in time, so its training process was ended."""

    code = "unavailable_stalled"


class EngineUnavailable(Unavailable):
    """No inference engine can answer: not installed, starting, or failed to start."""

    code = "unavailable_engine"


class Internal(FreesoloError):
    """A fault of ours; the server's log has the details under the incident id."""

    code = "internal"


def all_errors(root: type[FreesoloError] = FreesoloError) -> Iterator[type[FreesoloError]]:
    """Yield every class of the tree, the root's children first."""
    for child in root.__subclasses__():
        yield child
        yield from all_errors(child)


def from_wire(body: Mapping[str, object], http_status: int) -> FreesoloError:
    """Rebuild the error that the other side raised from its JSON envelope.

    An envelope with an unknown code becomes the class that fits `http_status`, so that an older
    client still exits with the right code against a newer hub.
    """
    details = body.get("error")
    if not isinstance(details, Mapping):
        return _by_status(http_status)(f"The server answered {http_status} without an explanation.")
    code = details.get("code")
    known = {error.code: error for error in all_errors()}
    error_class = known.get(str(code)) or _by_status(http_status)
    retry_after = details.get("retry_after")
    traceback = details.get("traceback")
    hint = details.get("hint")
    return error_class(
        str(details.get("message", "")),
        hint=str(hint) if hint else None,
        problems=_problems(details.get("problems")),
        retry_after=float(retry_after) if isinstance(retry_after, int | float) else None,
        traceback=str(traceback) if traceback else None,
    )


def _by_status(http_status: int) -> type[FreesoloError]:
    if http_status in (502, 504):  # a proxy whose service is away
        return Unavailable
    for error in FreesoloError.__subclasses__():
        if error.http_status == http_status:
            return error
    return Internal if http_status >= 500 else InvalidInput


def _problems(value: object) -> list[Problem]:
    if not isinstance(value, list):
        return []
    return [
        Problem(
            path=str(item.get("path", "")),
            message=str(item.get("message", "")),
            code=str(item.get("code", "invalid")),
        )
        for item in value
        if isinstance(item, Mapping)
    ]
