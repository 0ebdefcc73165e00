"""The catalog of base models."""

import pytest

from freesolo.domain.catalog import (
    BUILT_IN,
    SMOLLM2_135M,
    HubSource,
    TemplateFacts,
    find_model,
    is_commit,
    parse_catalog,
    with_models,
)
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


def test_an_entry_that_says_nothing_of_its_template_is_trained_turn_by_turn() -> None:
    (entry,) = parse_catalog(ENTRY)
    assert entry.template == TemplateFacts(append_only=False, append_only_thinking=False)


def test_a_model_of_the_hugging_face_hub_is_pinned_to_a_commit() -> None:
    moving = ENTRY.replace(
        'kind = "path", path = "/models/tiny"', 'kind = "hub", repo = "acme/tiny"'
    )
    with pytest.raises(InvalidInput, match="a commit of 40") as refusal:
        parse_catalog(moving)
    assert "'1'" in refusal.value.message
    (entry,) = parse_catalog(moving.replace('revision = "1"', f'revision = "{"a" * 40}"'))
    assert entry.source == HubSource(repo="acme/tiny")


@pytest.mark.parametrize("model_id", ["", "a b", "../x", "a/b/c", "-x/y", "x/", "a" * 201])
def test_an_id_is_one_or_two_words(model_id: str) -> None:
    with pytest.raises(InvalidInput, match="catalog"):
        parse_catalog(ENTRY.replace("acme/tiny", model_id))


def test_the_built_in_models_are_pinned_and_priced() -> None:
    others = [entry for entry in BUILT_IN.values() if entry != SMOLLM2_135M]
    assert [entry.id for entry in others] == [
        f"Qwen/Qwen3.5-{size}" for size in ("0.8B", "2B", "4B", "9B", "27B")
    ]
    for entry in others:
        assert entry.source == HubSource(repo=entry.id)
        assert is_commit(entry.revision)
        assert entry.price_input < entry.price_output
        assert entry.thinking


@pytest.mark.parametrize("unknown", ["acme/unheard-of", "unheard-of"])
def test_an_unknown_model_can_be_added(unknown: str) -> None:
    with pytest.raises(ModelNotFound) as refusal:
        find_model(BUILT_IN, unknown)
    assert "freesolo models add" in (refusal.value.hint or "")
