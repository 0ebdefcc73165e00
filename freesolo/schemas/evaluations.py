"""What models got in the suites of environments, as the hub keeps it.

Questions and answers are the words of strangers: plain text, to be shown as nothing else.
"""

from datetime import datetime
from typing import Annotated, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, Field, JsonValue, model_validator

from freesolo.domain.evaluations import Outcome, SuiteSummary
from freesolo.schemas.base import Digest, Page, Wire

# The longest text of a case that is kept, and the most answers of one evaluation.
MAX_TEXT = 8_000
MAX_ANSWERS = 20_000

_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Small = Annotated[int, Field(ge=0, le=2**31 - 1)]


def public_address(url: str) -> str:
    """Return the address of an endpoint; raise `ValueError` for one that is none, or holds secrets."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address begins with http:// or https://")
    if parts.username or parts.password or parts.query:
        raise ValueError("an address may hold no name, password or query")
    return url


class EvaluationSettings(Wire):
    """What decides the answers besides model and environment.

    `limit` is how many cases of each suite were asked, None for all; `params` are what
    `load_environment` was given.
    """

    temperature: float = Field(ge=0, le=2, allow_inf_nan=False)
    max_tokens: int = Field(ge=1, le=2**31 - 1)
    samples: int = Field(default=1, ge=1, le=100)
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    params: dict[str, JsonValue] = Field(default={}, max_length=100)


class EvaluationCase(Wire):
    """One answer to one case. `score` is None just if it is unscorable or there was no answer."""

    index: _Small
    sample: _Small = 0
    id: str = Field(max_length=500)
    prompt: _Text
    expected: _Text | None = None
    answer: _Text | None = None
    outcome: Outcome
    score: float | None = Field(default=None, allow_inf_nan=False)
    error: _Text | None = None

    @model_validator(mode="after")
    def _has_a_score_if_it_was_scored(self) -> Self:
        if (self.score is not None) != (self.outcome in (Outcome.PASSED, Outcome.FAILED)):
            raise ValueError(f"an outcome {self.outcome.value!r} does not go with this `score`")
        return self


class NewSuite(Wire):
    """All answers to one suite."""

    name: str = Field(min_length=1, max_length=200)
    cases: list[EvaluationCase] = Field(max_length=MAX_ANSWERS)

    @model_validator(mode="after")
    def _has_each_answer_once(self) -> Self:
        if len({(case.index, case.sample) for case in self.cases}) < len(self.cases):
            raise ValueError(f"the suite {self.name!r} has an answer twice")
        return self


class NewEvaluation(Wire):
    """The body of `POST /v1/evals`.

    `environment` is `org/name@version`, whose files must have the digest `tree_digest`. `revision`
    is the immutable state that answered to the name `target`; `endpoint`, where, if not here.
    """

    environment: str = Field(max_length=300)
    tree_digest: Digest
    project: UUID | None = None
    target: str = Field(min_length=1, max_length=300)
    revision: str | None = Field(default=None, max_length=200)
    endpoint: Annotated[str, Field(max_length=500), AfterValidator(public_address)] | None = None
    settings: EvaluationSettings
    suites: list[NewSuite] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _is_not_too_large(self) -> Self:
        if sum(len(suite.cases) for suite in self.suites) > MAX_ANSWERS:
            raise ValueError(f"an evaluation has at most {MAX_ANSWERS} answers")
        if len({suite.name for suite in self.suites}) < len(self.suites):
            raise ValueError("two suites share a name")
        return self


class Evaluation(Wire):
    """One model, asked the suites of one version of an environment, on one occasion.

    `ref` is the environment's name now. `revision` is the immutable state that answered to the name
    `target`: with an `endpoint`, by that one's own word.
    """

    id: UUID
    ref: str
    version: str
    tree_digest: Digest
    target: str
    revision: str | None
    endpoint: str | None
    settings: EvaluationSettings
    suites: list[SuiteSummary]
    created_by: str
    created_at: datetime


class EvaluationList(Page):
    """The answer of `GET /v1/evals`, the newest first."""

    evaluations: list[Evaluation]


class StoredCase(EvaluationCase):
    """An answer with the name of its suite."""

    suite: str


class EvaluationCaseList(Page):
    """The answer of `GET /v1/evals/{id}/cases`: suite by suite, in the order of the cases."""

    cases: list[StoredCase]
