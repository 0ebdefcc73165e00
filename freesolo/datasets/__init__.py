"""Datasets as environments use them. Needs only the standard library."""

from freesolo.datasets.records import load_dataset, stable_example_id, warn_missing_think_tags
from freesolo.datasets.types import Dataset, PromptBuilder, TaskExample, target_messages

__all__ = [
    "Dataset",
    "PromptBuilder",
    "TaskExample",
    "load_dataset",
    "stable_example_id",
    "target_messages",
    "warn_missing_think_tags",
]
