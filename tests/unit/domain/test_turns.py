"""The turn type that a source shows."""

import pytest

from freesolo.domain.turns import MULTI_TURN, SINGLE_TURN, turn_type

ONCE = "class Agree(EnvironmentSingleTurn):\n    pass\n"
OFTEN = "class Chess(\n    freesolo.environments.EnvironmentMultiTurn,\n    Mixin,\n):\n    pass\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (ONCE, SINGLE_TURN),
        (OFTEN, MULTI_TURN),
        (ONCE + OFTEN, ""),
        ("", ""),
        ("from freesolo.environments import EnvironmentMultiTurn\n", ""),
        ("# class Chess(EnvironmentMultiTurn):\n", ""),
        ("class Chess:\n    base = EnvironmentMultiTurn\n", ""),
        ("class a(" * 100_000, ""),
    ],
    ids=["once", "often", "both", "empty", "imported", "comment", "no base", "hostile"],
)
def test_the_base_classes_tell_the_turn_type(source: str, expected: str) -> None:
    assert turn_type(source) == expected
