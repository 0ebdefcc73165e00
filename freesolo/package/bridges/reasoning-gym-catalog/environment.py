"""A row for each task of the library, with what its configuration takes. Nothing is asked or scored."""

from dataclasses import MISSING, fields

from stand_ins import put_stand_ins

from freesolo.datasets import TaskExample
from freesolo.environments import EnvironmentSingleTurn, RewardResult

put_stand_ins()

from reasoning_gym.factory import DATASETS  # noqa: E402 - it imports what may be stood in for

# What every task takes, and `load_environment` has of its own.
COMMON = {"seed", "size"}


class Catalog(EnvironmentSingleTurn):
    """The library's tasks."""

    def __init__(self) -> None:
        self.dataset = [
            {"input": name, "metadata": defaults(config)} for name, (_, config) in DATASETS.items()
        ]

    def build_prompt_messages(self, example: TaskExample, prompt_text: str) -> list[dict[str, str]]:
        """Return the name."""
        return [{"role": "user", "content": example.input}]

    def score_response(self, example: TaskExample, response_text: str) -> RewardResult:
        """Give nothing."""
        return RewardResult(0.0)


def defaults(config: type) -> dict[str, str]:
    """Return the fields of a configuration with their defaults, as they are written in Python."""
    return {
        field.name: written(field.default, field.default_factory)
        for field in fields(config)
        if field.name not in COMMON
    }


def written(default: object, factory: object) -> str:
    """Return a default as it is written, `...` if there is none."""
    if default is not MISSING:
        return repr(default)
    return repr(factory()) if factory is not MISSING else "..."


def load_environment() -> Catalog:
    """Return the catalog."""
    return Catalog()
