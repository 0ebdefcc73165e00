"""How each algorithm trains. A recipe's module imports torch, so it is imported when it runs."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from freesolo.domain.catalog import Algorithm
from freesolo.schemas.provenance import TrainingDevice
from training_backend.recipes.task import Task

# Returns the step whose checkpoint is the result.
Recipe = Callable[[Task], int]


def _sft(task: Task) -> int:
    from training_backend.recipes import sft

    return sft.train(task)


def _grpo(task: Task) -> int:
    from training_backend.recipes import grpo

    return grpo.train(task)


def _opd(task: Task) -> int:
    from training_backend.recipes import opd

    return opd.train(task)


RECIPES: Mapping[Algorithm, Recipe] = MappingProxyType(
    {Algorithm.SFT: _sft, Algorithm.GRPO: _grpo, Algorithm.OPD: _opd}
)


def training_device() -> TrainingDevice:
    """Say what this process trains on. Like a recipe, this imports torch."""
    from training_backend import lora

    return lora.training_device()
