"""Held-out suites: what `freesolo eval` asks, before and after training.

No row of a suite may be in the training data; `freesolo validate` warns if one is.
"""

from environment import DATASET

from freesolo.datasets import load_dataset
from freesolo.environments import Environment, EnvironmentEvalSuite


def load_evaluations(environment: Environment) -> list[EnvironmentEvalSuite]:
    """Return the suites, graded by the judge that `environment` was loaded with."""
    cases = load_dataset(DATASET / "heldout.jsonl").examples
    return [EnvironmentEvalSuite(environment, cases, name="heldout")]
