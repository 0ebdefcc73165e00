"""freesolo.toml: what it says, what it may not say, and that comments outlive a change."""

import pytest
from packaging.version import Version

from freesolo.domain.refs import EnvRef
from freesolo.errors import InvalidConsumerFile
from freesolo.package.consumer import (
    compatible_range,
    new_consumer,
    parse_consumer,
    with_environment,
    without_environment,
)

TEXT = """# Ours.
[project]
requires-python = ">=3.11"  # as the image

[environments]
"acme/math" = ">=1,<2"  # the exam
"acme/tools" = "*"
"""


def test_what_is_wanted_is_read_as_references() -> None:
    consumer = parse_consumer(TEXT)

    assert consumer.requires_python == ">=3.11"
    assert [str(ref) for ref in consumer.environments] == ["acme/math@<2,>=1", "acme/tools"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[environments", "not valid TOML"),
        ('[environments]\n"math" = "*"', "'math' is not"),
        ('[environments]\n"acme/math@1" = "*"', "acme/math@1"),
        ('[environments]\n"acme/math" = "one, two"', "one, two"),
        ('[environments]\n"acme/math" = 1', "environments.acme/math"),
        ('[environments]\n"acme/math" = "1"\n"Acme/Math" = "2"', "twice"),
        ('[project]\nrequires-python = "three"', "three"),
        ('[project]\nrequires_python = ">=3"', "requires-python"),
        ('[enviroments]\n"acme/math" = "1"', "environments"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(InvalidConsumerFile) as refusal:
        parse_consumer(text)
    assert words in f"{refusal.value.message} {refusal.value.hint}"


def test_comments_outlive_an_addition() -> None:
    added = with_environment(parse_consumer(TEXT), EnvRef.parse("acme/more@stable"))

    assert added.text == f'{TEXT}"acme/more" = "stable"\n'


def test_another_range_takes_the_place_of_the_first_however_the_name_is_written() -> None:
    changed = with_environment(parse_consumer(TEXT), EnvRef.parse("Acme/Math@>=2"))

    assert '"acme/math" = ">=2"' in changed.text
    assert len(changed.environments) == 2


def test_what_is_removed_is_gone_and_nothing_else() -> None:
    removed = without_environment(parse_consumer(TEXT), EnvRef.parse("ACME/tools"))

    assert removed.text == TEXT.replace('"acme/tools" = "*"\n', "")


def test_a_file_without_the_table_gets_it() -> None:
    added = with_environment(parse_consumer("# Ours.\n"), EnvRef.parse("acme/math@1.0"))

    assert added.text == '# Ours.\n\n[environments]\n"acme/math" = "1.0"\n'


def test_a_new_file_wants_nothing_and_takes_the_first() -> None:
    consumer = with_environment(new_consumer(), EnvRef.parse("acme/math"))

    assert new_consumer().environments == ()
    assert [str(ref) for ref in consumer.environments] == ["acme/math"]
    assert '"acme/math" = "*"' in consumer.text


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.2.3", ">=1.2.3,<2"), ("0.3.1", ">=0.3.1,<0.4"), ("0.1.0", ">=0.1.0,<0.2")],
)
def test_the_range_of_a_version_ends_before_the_next_that_may_break(
    version: str, expected: str
) -> None:
    assert compatible_range(Version(version)) == expected
