"""Held-out suites: what `freesolo eval` asks, before and after training.

The library makes their questions from another seed, as hard as those of the environment as it was
loaded. None of them is one of its questions.
"""

from environment import Task

from freesolo.environments import EnvironmentEvalSuite

CASES = 100


def load_evaluations(environment: Task) -> list[EnvironmentEvalSuite]:
    """Return the suites. This one is graded by the environment's own reward."""
    return [EnvironmentEvalSuite(environment, environment.held_out(CASES), name="heldout")]
