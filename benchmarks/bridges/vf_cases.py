"""Environments of the library verifiers, for the tests of its bridge. They run in its own interpreter."""

import verifiers as vf
from datasets import Dataset


def load_environment(kind="sums"):
    return {"sums": sums, "guessing": guessing, "broken": broken}[kind]()


def rows(first, count=4):
    numbers = range(first, first + count)
    return Dataset.from_list([{"question": f"{n} + 1?", "answer": str(n + 1)} for n in numbers])


def right(completion, answer, parser):
    return float(parser.parse_answer(completion) == answer)


async def brief(completion):
    return float(len(completion[-1]["content"]) < 100)


def sums():
    parser = vf.XMLParser(["think", "answer"])
    rubric = vf.Rubric(funcs=[right], weights=[2.0], parser=parser)
    rubric.add_metric(brief)
    return vf.SingleTurnEnv(
        dataset=rows(0),
        eval_dataset=rows(100),
        system_prompt="Use tags.",
        parser=parser,
        rubric=rubric,
    )


class Guessing(vf.MultiTurnEnv):
    async def setup_state(self, state):
        state["guesses"] = 0
        return state

    async def env_response(self, messages, state):
        state["guesses"] += 1
        if messages[-1]["content"] == state["answer"]:
            state["final_env_response"] = [{"role": "user", "content": "Right."}]
            return state["final_env_response"]
        return [{"role": "user", "content": f"Wrong, {state['guesses']} times."}]

    @vf.stop
    async def gave_up(self, state):
        return (
            bool(state["trajectory"])
            and "stop" in state["trajectory"][-1]["completion"][0]["content"]
        )


def found(completion, answer):
    return float(answer in [said["content"] for said in completion if said["role"] == "assistant"])


def guessing():
    return Guessing(dataset=rows(0), max_turns=3, rubric=vf.Rubric(funcs=[found]))


def fails(completion):
    raise ValueError("no such thing")


def broken():
    return vf.SingleTurnEnv(dataset=rows(0), rubric=vf.Rubric(funcs=[fails]))


def tool(word: str) -> str:
    """Say a word.

    Args:
        word: What to say.
    """
    return word


def grouped(completions):
    return [0.0 for _ in completions]


def refused():
    """Return an environment for each reason to refuse one, by a word of the reason."""
    judge = vf.JudgeRubric(judge_client=object())
    return {
        "tools": vf.ToolEnv(tools=[tool], dataset=rows(0), rubric=vf.Rubric(funcs=[found])),
        "judged": vf.SingleTurnEnv(dataset=rows(0), rubric=judge),
        "group of environments": vf.EnvGroup(envs=[sums(), guessing()]),
        "of a group": vf.SingleTurnEnv(dataset=rows(0), rubric=vf.Rubric(funcs=[grouped])),
    }
