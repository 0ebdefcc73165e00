"""References: what parses, to what, and what is refused with a way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freesolo.domain.refs import (
    AdapterRef,
    EnvRef,
    Selector,
    SelectorKind,
    adapter_revision,
    check_channel,
    normalized_name,
)
from freesolo.errors import InvalidRef

DIGEST = "sha256:" + "ab" * 32
NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
SELECTORS = st.sampled_from(["", "1.2.0", ">=1.2,<2", "stable", DIGEST, "2.0rc1"])
# Text that is often nearly a reference.
NEARLY = st.lists(
    st.sampled_from(
        ["org", "/", "name", "@", "1", ".", "0", ">=", "<", ",", "==", "===", "*", "~="]
    )
    | st.sampled_from(["rc", "!", "+", "-", "latest", "sha256:", DIGEST, " ", "run-ab12cd34ef"])
    | st.sampled_from(["/step-", "@final.", "v", "\n", "\u00e9", "\uff11"])
    | st.text(max_size=3),
    max_size=9,
).map("".join)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("", SelectorKind.LATEST, ""),
        ("latest", SelectorKind.LATEST, ""),
        ("1.2", SelectorKind.EXACT, "1.2"),
        ("v1.2.0", SelectorKind.EXACT, "1.2.0"),
        ("1.0-RC1", SelectorKind.EXACT, "1.0rc1"),
        (">=1.2,<2", SelectorKind.RANGE, "<2,>=1.2"),
        ("==1.2", SelectorKind.RANGE, "==1.2"),
        ("stable", SelectorKind.CHANNEL, "stable"),
        (DIGEST, SelectorKind.DIGEST, DIGEST),
    ],
)
def test_selector_kinds(text: str, kind: SelectorKind, value: str) -> None:
    assert Selector.parse(text) == Selector(kind, value)


@pytest.mark.parametrize(
    "text", ["sha256:abc", "sha256:" + "g" * 64, ">>1", ",", "Not A Channel", "=1"]
)
def test_a_wrong_selector_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidRef) as refusal:
        Selector.parse(text)
    assert repr(text) in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "math",
        "a/b/c/d",
        "a//b",
        "/b",
        "a/",
        "-a/b",
        "a/b-",
        "a b/c",
        "../b",
        "a/..",
        "ä/b",
        "a/" + "b" * 65,
    ],
)
def test_a_wrong_environment_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef) as refusal:
        EnvRef.parse(text)
    assert repr(text) in refusal.value.message


def test_a_project_in_the_middle_is_accepted_and_dropped() -> None:
    assert EnvRef.parse("org/project/name@1.0") == EnvRef.parse("org/name@1.0")


@given(org=NAMES, name=NAMES, selector=SELECTORS)
def test_printing_and_parsing_a_reference_are_inverse(org: str, name: str, selector: str) -> None:
    ref = EnvRef.parse(f"{org}/{name}@{selector}" if selector else f"{org}/{name}")
    assert EnvRef.parse(str(ref)) == ref


@given(name=NAMES)
def test_folding_a_name_twice_changes_nothing(name: str) -> None:
    assert normalized_name(normalized_name(name)) == normalized_name(name)


@pytest.mark.parametrize("spelling", ["My_Task", "my.task", "MY--TASK", "my-task"])
def test_names_that_pep_503_folds_together_are_one(spelling: str) -> None:
    assert normalized_name(spelling) == "my-task"


def test_an_adapter_reference_in_its_four_forms() -> None:
    final = adapter_revision("run-ab12cd34ef", None, DIGEST)
    step = adapter_revision("run-ab12cd34ef", 20, DIGEST)
    assert AdapterRef.parse("run-ab12cd34ef") == AdapterRef("run-ab12cd34ef")
    assert AdapterRef.parse("run-ab12cd34ef/step-20") == AdapterRef("run-ab12cd34ef", 20)
    assert AdapterRef.parse(final) == AdapterRef("run-ab12cd34ef", None, final)
    assert AdapterRef.parse(step) == AdapterRef("run-ab12cd34ef", 20, step)


@given(step=st.none() | st.integers(1, 10**6))
def test_a_revision_prints_as_it_was_parsed(step: int | None) -> None:
    revision = adapter_revision("run-ab12cd34ef", step, DIGEST)
    assert str(AdapterRef.parse(revision)) == revision
    assert AdapterRef.parse(revision).content == DIGEST.removeprefix("sha256:")[:40]


@pytest.mark.parametrize(
    "text", ["", "run-1", "run-ab12cd34ef/step-", "run-ab12cd34ef@final", "RUN-AB12CD34EF"]
)
def test_a_wrong_adapter_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef):
        AdapterRef.parse(text)


@pytest.mark.parametrize("selector", ["1." + "9" * 5000, "<" * 5000, ">=1," * 100 + ">=1"])
def test_a_selector_of_absurd_length_is_refused(selector: str) -> None:
    with pytest.raises(InvalidRef, match="too long"):
        EnvRef.parse(f"org/name@{selector}")


def test_a_step_of_absurd_length_is_refused() -> None:
    with pytest.raises(InvalidRef):
        AdapterRef.parse("run-ab12cd34ef/step-" + "9" * 5000)


@given(text=NEARLY)
def test_any_text_is_a_reference_that_prints_as_it_parses_or_invalid(text: str) -> None:
    try:
        ref = EnvRef.parse(text)
    except InvalidRef:
        return
    assert EnvRef.parse(str(ref)) == ref


@given(text=NEARLY)
def test_any_text_is_an_adapter_reference_or_invalid(text: str) -> None:
    try:
        ref = AdapterRef.parse(text)
    except InvalidRef:
        return
    assert AdapterRef.parse(str(ref)) == ref


@given(text=NEARLY)
def test_any_text_is_a_selector_that_prints_as_it_parses_or_invalid(text: str) -> None:
    try:
        selector = Selector.parse(text)
    except InvalidRef:
        return
    assert Selector.parse(selector.text) == selector


@pytest.mark.parametrize("text", ["org/name@", "org/name@ "])
def test_a_reference_that_breaks_off_does_not_mean_the_newest(text: str) -> None:
    with pytest.raises(InvalidRef, match="names no version"):
        EnvRef.parse(text)


@pytest.mark.parametrize("name", ["stable", "beta", "rc", "prod-eu", "v", "dev", "face", "s" * 32])
def test_a_word_may_name_a_channel(name: str) -> None:
    assert check_channel(name) == name
    assert EnvRef.parse(f"org/name@{name}").selector == Selector(SelectorKind.CHANNEL, name)


@pytest.mark.parametrize(
    "name",
    [
        "latest",
        "1",
        "v1",
        "v1x",
        "1.0",
        "sha256",
        "sha256-ab",
        "deadbeef",
        "ab12cd3",
        ">=1",
        "Stable",
        "",
        "a" * 33,
        "-a",
        "a_b",
        " a",
    ],
)
def test_what_looks_like_a_version_or_a_digest_names_no_channel(name: str) -> None:
    with pytest.raises(InvalidRef, match="cannot name a channel"):
        check_channel(name)
