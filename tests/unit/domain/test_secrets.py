import pytest

from freesolo.domain.secrets import (
    MAX_VALUE_BYTES,
    check_secret_name,
    check_secret_value,
    refuse_missing,
)
from freesolo.errors import InvalidSecret, SecretMissing


@pytest.mark.parametrize("name", ["JUDGE_API_KEY", "_", "A1", "HTTPS_PROXY", "PATHS", "A" * 100])
def test_a_name_is_that_of_an_environment_variable_in_capitals(name: str) -> None:
    assert check_secret_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "lower", "1KEY", "JUDGE-API-KEY", "KEY=value", "KEY\n", " KEY", "É", "A" * 101, "sk-12"],
)
def test_what_is_no_name_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(InvalidSecret, match="not the name of a secret") as raised:
        check_secret_name(name)
    assert not name or name not in str(raised.value.to_wire())


@pytest.mark.parametrize("name", ["FREESOLO_API_KEY", "FREESOLO_"])
def test_a_variable_of_the_platform_is_no_secret(name: str) -> None:
    with pytest.raises(InvalidSecret, match=f"{name!r} is a variable of the platform"):
        check_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "TMPDIR", "LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "SSL_CERT_FILE", "LC_ALL"],
)
def test_what_decides_how_programs_run_is_no_secret(name: str) -> None:
    with pytest.raises(InvalidSecret, match=f"{name!r} decides how programs run"):
        check_secret_name(name)


@pytest.mark.parametrize("value", ["x", " ", "two\nlines", "ключ", "x" * MAX_VALUE_BYTES])
def test_a_value_is_any_text_that_a_variable_can_hold(value: str) -> None:
    assert check_secret_value(value) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("hush\0hush", "zero byte"),
        ("x" * (MAX_VALUE_BYTES + 1), "larger than"),
        ("é" * MAX_VALUE_BYTES, "larger than"),
        ("\ud800", "not text"),
    ],
)
def test_a_value_that_no_variable_can_hold_is_refused_and_not_repeated(
    value: str, reason: str
) -> None:
    with pytest.raises(InvalidSecret, match=reason) as raised:
        check_secret_value(value)
    assert not value or value not in str(raised.value)
    assert raised.value.__cause__ is None


def test_every_missing_secret_is_named() -> None:
    with pytest.raises(SecretMissing, match="A_KEY, B_KEY") as raised:
        refuse_missing({"B_KEY", "A_KEY"}, hint="Set them.")
    assert [problem.path for problem in raised.value.problems] == ["secrets.A_KEY", "secrets.B_KEY"]


def test_nothing_missing_is_fine() -> None:
    refuse_missing([], hint="")
