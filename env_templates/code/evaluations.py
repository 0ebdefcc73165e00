"""Held-out suites: what `freesolo eval` asks, before and after training.

No row of a suite may be in the training data; `freesolo validate` warns if one is.
"""

from environment import DATASET, load_environment

from freesolo.datasets import load_dataset
from freesolo.environments import EnvironmentEvalSuite


def load_evaluations() -> list[EnvironmentEvalSuite]:
    """Return the suites. This one is graded by the environment's own reward."""
    cases = load_dataset(DATASET / "heldout.jsonl").examples
    return [EnvironmentEvalSuite(load_environment(), cases, name="heldout")]
