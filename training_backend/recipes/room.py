"""Whether a run that practises fits into its machine, asked before the model is loaded."""

from collections.abc import Iterator
from statistics import median

from freesolo.domain.estimates import ASSUMED_TURNS, require_room
from freesolo.domain.memory import RowLengths
from freesolo.domain.train_spec import GrpoSpec, OpdSpec
from freesolo.runtime.episodes import begin
from freesolo.runtime.examples import Examples
from training_backend.chat import ChatFormat
from training_backend.recipes.task import Task

# Prompts that are measured, spread over the dataset: to make all of a large one takes minutes.
_MEASURED = 64


def require_room_to_practise(
    task: Task, spec: GrpoSpec | OpdSpec, chat: ChatFormat, examples: Examples, *, pool: int
) -> None:
    """Raise `LimitExceeded` if the machine's memory is too small for the first `pool` examples."""
    measured = list(_measure(task, chat, examples, pool))
    if not measured:
        # None of them began; what the environment says of that is the rollouts' to tell.
        return
    prompts = [tokens for tokens, _ in measured]
    lengths = RowLengths(
        prompt=round(median(prompts)),
        answer=1,
        longest_prompt=max(prompts),
        longest_answer=1,
        turns=min(ASSUMED_TURNS, max(turns for _, turns in measured)),
    )
    require_room(spec, task.lease.model, lengths, gpu=task.machine.gpu, room=task.machine.free)


def _measure(
    task: Task, chat: ChatFormat, examples: Examples, pool: int
) -> Iterator[tuple[int, int]]:
    """Yield the tokens of some prompts, each with the most turns that its episode may have."""
    for number in range(0, pool, max(1, pool // _MEASURED)):
        transcript = begin(task.host, examples[number])
        if transcript.ending is None:
            yield len(chat.prompt(transcript.messages)), transcript.max_turns
