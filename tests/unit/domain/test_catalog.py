"""The catalog of base models."""

import pytest

from freesolo.domain.catalog import BUILT_IN, find_model, parse_catalog, with_models
from freesolo.errors import InvalidInput, ModelNotFound

ENTRY = """
[[model]]
id = "acme/tiny"
revision = "1"
source = { kind = "path", path = "/models/tiny" }
parameters = 1000
context = 512
max_rank = 8
"""


def test_a_file_adds_models_to_the_built_in_ones() -> None:
    catalog = with_models(BUILT_IN, parse_catalog(ENTRY))
    assert find_model(catalog, "acme/tiny").context == 512
    assert set(BUILT_IN) < set(catalog)


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelNotFound) as refusal:
        find_model(BUILT_IN, "HuggingFaceTB/SmolLM-135M-Instruct")
    assert "SmolLM2-135M-Instruct" in (refusal.value.hint or "")


@pytest.mark.parametrize("text", ["[[model]", "[[model]]\nid = 'x'", ENTRY + "colour = 'red'\n"])
def test_a_wrong_catalog_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="catalog"):
        parse_catalog(text)
