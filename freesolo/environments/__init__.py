"""The environment contract. Needs only the standard library."""

from freesolo.environments.base import Environment, EnvironmentMultiTurn, EnvironmentSingleTurn
from freesolo.environments.evaluations import (
    EnvironmentEvalSuite,
    EvalSuite,
    has_evaluations,
    load_evaluation_suites,
)
from freesolo.environments.loading import load_environment
from freesolo.environments.types import (
    EnvironmentEpisode,
    EnvironmentStepResult,
    EnvironmentTurn,
    RewardMetric,
    RewardResult,
)

__all__ = [
    "Environment",
    "EnvironmentEpisode",
    "EnvironmentEvalSuite",
    "EnvironmentMultiTurn",
    "EnvironmentSingleTurn",
    "EnvironmentStepResult",
    "EnvironmentTurn",
    "EvalSuite",
    "RewardMetric",
    "RewardResult",
    "has_evaluations",
    "load_environment",
    "load_evaluation_suites",
]
