"""The names of installable environments: one each, and readable backwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from freesolo.domain.distributions import Distribution, parse_wheel
from freesolo.domain.refs import NAME_PATTERN, normalized_name
from freesolo.errors import InvalidRef

# No `$`-like surprises: what the grammar of refs takes is what is tested.
names = st.from_regex(NAME_PATTERN, fullmatch=True)
versions = st.sampled_from(["0.1.0", "1!2.0", "1.0rc1", "1.0.post2", "2.0.dev3", "1.0+local.7"])


@pytest.mark.parametrize(
    ("org", "name", "distribution"),
    [
        ("acme", "math", "fsenv-acme-math"),
        ("Acme", "Refund_Agent", "fsenv-acme-refund-agent"),
        ("a.b", "c", "fsenv2-a-b-c"),
        ("a", "b-c", "fsenv-a-b-c"),
        ("a-b-c", "d", "fsenv3-a-b-c-d"),
    ],
)
def test_a_distribution_is_named_after_its_environment(
    org: str, name: str, distribution: str
) -> None:
    assert str(Distribution.of(org, name)) == distribution


@given(names, names)
def test_a_distribution_says_which_environment_it_is(org: str, name: str) -> None:
    distribution = Distribution.of(org, name)
    assert (distribution.org, distribution.name) == (normalized_name(org), normalized_name(name))
    assert Distribution.parse(str(distribution)) == distribution
    assert Distribution.parse(distribution.module.upper()) == distribution


@given(names, names, names, names)
def test_no_two_environments_share_a_distribution(a: str, b: str, c: str, d: str) -> None:
    same = Distribution.of(a, b) == Distribution.of(c, d)
    assert same == (str(Distribution.of(a, b)) == str(Distribution.of(c, d)))


@given(names, names)
def test_a_distribution_is_named_as_indexes_spell_it_and_its_module_can_be_imported(
    org: str, name: str
) -> None:
    distribution = Distribution.of(org, name)
    assert canonicalize_name(str(distribution)) == str(distribution)
    assert distribution.module.isidentifier()


@given(names, names, versions)
def test_the_file_name_of_a_wheel_reads_backwards_and_is_valid(
    org: str, name: str, version: str
) -> None:
    distribution = Distribution.of(org, name)
    filename = distribution.wheel(version)
    assert parse_wheel(filename) == (distribution, Version(version))
    assert parse_wheel_filename(filename)[0] == str(distribution)
    assert len(filename.encode()) <= 255


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fsenv",
        "fsenv-acme",
        "fsenv1-acme-math",
        "fsenv02-a-b-c",
        "fsenv2-a-b",
        "fsenv3-a-b-c",
        "numpy",
        "xfsenv-acme-math",
        "fsenv-acme-math/../x",
    ],
)
def test_what_no_environment_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef, match="is not the distribution"):
        Distribution.parse(text)


@pytest.mark.parametrize(
    "filename",
    [
        "fsenv_acme_math-1.0.tar.gz",
        "fsenv_acme_math-1.0-cp311-none-any.whl",
        "fsenv-acme-math-1.0-py3-none-any.whl",
        "numpy-1.0-py3-none-any.whl",
        "fsenv_acme_math-01.0-py3-none-any.whl",
        "FSENV_acme_math-1.0-py3-none-any.whl",
        "",
    ],
)
def test_any_other_file_is_refused(filename: str) -> None:
    with pytest.raises(InvalidRef, match="is not the wheel"):
        parse_wheel(filename)
