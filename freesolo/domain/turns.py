"""Whether an environment's model acts once or several times, read off its source."""

import re

SINGLE_TURN = "single-turn"
MULTI_TURN = "multi-turn"
_BASES = {"EnvironmentSingleTurn": SINGLE_TURN, "EnvironmentMultiTurn": MULTI_TURN}
# Longer ones are no class headers that anybody wrote.
_CLASS = re.compile(r"^[ \t]*class[ \t]+\w+[ \t]*\(([^()]{0,400})\)", re.MULTILINE)


def turn_type(source: str) -> str:
    """Return `single-turn` or `multi-turn` for the text of an `environment.py`, or '' if unclear.

    It is a label for searching, so the names of base classes are enough; nothing is parsed or run.
    """
    bases = {base for match in _CLASS.finditer(source) for base in re.findall(r"\w+", match[1])}
    types = {kind for base, kind in _BASES.items() if base in bases}
    return types.pop() if len(types) == 1 else ""
