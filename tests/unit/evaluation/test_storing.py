"""Results on their way to the hub: everything that it takes, and nothing that it would refuse."""

import pytest

from freesolo.client.chat import ChatClient
from freesolo.domain.evaluations import CaseResult, Outcome
from freesolo.evaluation.models import AskedModel, Sampling, Target
from freesolo.evaluation.storing import Asked, Version, cut, to_store
from freesolo.schemas.evaluations import MAX_TEXT, NewEvaluation

BODY = 16 << 20


def stored(*results: CaseResult) -> NewEvaluation:
    """Return what is sent to the hub of one suite's results."""
    version = Version("local/math", "1.0", f"sha256:{'0' * 64}")
    sampling = Sampling(16, 0.0)
    asked = Asked(sampling, samples=1, limit=None, params={}, endpoint=None)
    with ChatClient("http://127.0.0.1:1", None) as client:
        model = AskedModel(client, Target("m", "m"), sampling, settled=True)
        return to_store(version, model, asked, {"heldout": results})


def result(index: int, text: str) -> CaseResult:
    return CaseResult(index, 0, text, text, text, text, Outcome.PASSED, 1.0)


def test_short_texts_are_kept_as_they_are() -> None:
    sent = result(0, "short")
    (case,) = stored(sent).suites[0].cases
    assert CaseResult(**case.model_dump()) == sent


def test_a_long_text_is_cut_and_says_so() -> None:
    (case,) = stored(result(0, "x" * 20_000)).suites[0].cases
    assert case.prompt == "x" * (MAX_TEXT - 3) + "..."


def test_very_many_long_texts_still_fit_into_a_request() -> None:
    new = stored(*(result(index, "\x00ä" * 4000) for index in range(400)))
    assert len(new.model_dump_json().encode()) < BODY
    assert len(new.suites[0].cases) == 400


@pytest.mark.parametrize(("text", "kept"), [("abc", "abc"), ("abcdef", "a..."), ("\ud800", "?")])
def test_cut_text_can_be_stored(text: str, kept: str) -> None:
    assert cut(text, 4) == kept
