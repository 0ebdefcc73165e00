"""The hub's calls about what models got in the suites of environments."""

import secrets
from collections.abc import Iterator
from uuid import UUID

from freesolo.client.connection import HubConnection
from freesolo.domain.refs import EnvRef
from freesolo.schemas.evaluations import (
    Evaluation,
    EvaluationCaseList,
    EvaluationList,
    NewEvaluation,
    StoredCase,
)


class EvaluationCalls(HubConnection):
    """What is asked about evaluations."""

    def store_evaluation(self, new: NewEvaluation) -> Evaluation:
        """Keep what a model got."""
        # The key makes it safe to repeat: a lost answer does not store it a second time.
        response = self._transport.request(
            "POST",
            "/v1/evals",
            json_body=new.model_dump(mode="json"),
            headers={"Idempotency-Key": secrets.token_hex(16)},
        )
        return self._read(Evaluation, response)

    def evaluations(
        self, ref: EnvRef | None = None, *, target: str | None = None
    ) -> Iterator[Evaluation]:
        """Yield what the org has kept, of one environment if `ref` is given, the newest first."""
        environment = ref and ref.full_name
        for page in self._pages(
            EvaluationList, "/v1/evals", environment=environment, target=target, limit=100
        ):
            yield from page.evaluations

    def evaluation(self, evaluation_id: UUID) -> Evaluation:
        """Return one evaluation, without its cases."""
        return self._get(Evaluation, f"/v1/evals/{evaluation_id}")

    def evaluation_cases(self, evaluation_id: UUID) -> Iterator[StoredCase]:
        """Yield an evaluation's answers, suite by suite, in the order of the cases."""
        path = f"/v1/evals/{evaluation_id}/cases"
        for page in self._pages(EvaluationCaseList, path):
            yield from page.cases

    def delete_evaluation(self, evaluation_id: UUID) -> None:
        """Remove an evaluation with all its answers."""
        self._transport.request("DELETE", f"/v1/evals/{evaluation_id}")
