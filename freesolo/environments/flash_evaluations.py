"""What an environment host offers as `flash.envs.evaluations` and `flash.envs.meta.evaluations`."""

from freesolo.environments.cases import BaseEvalSuite, EvalCase, EvalResult
from freesolo.environments.evaluations import EvalSuite

__all__ = ["BaseEvalSuite", "EvalCase", "EvalResult", "EvalSuite"]
