"""What an environment of the library verifiers may need that is not here, and how that is said."""

import verifiers as vf
from playing import rubrics_of


def check_playable(environment: object) -> None:
    """Raise `NotImplementedError` with the reason if the environment cannot be played."""
    reason = _reason(environment)
    if reason:
        raise NotImplementedError(f"{type(environment).__name__} cannot be bridged: {reason}.")


def _reason(environment: object) -> str | None:
    if isinstance(environment, vf.EnvGroup):
        return "it is a group of environments; bridge each of them"
    if not isinstance(environment, vf.MultiTurnEnv):
        return "it is neither a SingleTurnEnv nor a MultiTurnEnv of verifiers 0.3"
    if environment.tool_defs or isinstance(environment, vf.ToolEnv):
        return "its tools are called natively, which takes a client that knows them; tools as text work"
    if type(environment).get_model_response is not vf.Environment.get_model_response:
        return "it asks its model in a way of its own"
    return _reason_of_rubric(environment.rubric)


def _reason_of_rubric(rubric: vf.Rubric) -> str | None:
    if any(isinstance(part, vf.JudgeRubric) for part in rubrics_of(rubric)):
        return "it is judged by a model, with a client of its own"
    if rubric.has_group_rewards or rubric.has_advantages:
        return "it scores the answers of a group together, and a score here is of one answer"
    return None
