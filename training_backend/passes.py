"""Forward passes that fit into memory. Importing this imports torch."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from freesolo.errors import OutOfMemory

Result = TypeVar("Result")


class Passes:
    """How much goes through the model at once: less, from the moment that memory ran out.

    `tokens` bounds a pass, padding included.
    """

    def __init__(self, tokens: int, *, tell: Callable[[str], None]) -> None:
        self.tokens = tokens
        self._tell = tell

    def run(self, model: PreTrainedModel, compute: Callable[[], Result], *, longest: int) -> Result:
        """Compute the gradient of a step, whose longest row has `longest` tokens.

        Where that does not fit into memory it is done again, in smaller passes and at last with
        activations computed twice. Raise `OutOfMemory` if that does not help either.
        """
        while True:
            with suppress(torch.OutOfMemoryError):
                return compute()
            model.zero_grad()
            torch.cuda.empty_cache()
            self._shrink(model, longest)

    def _shrink(self, model: PreTrainedModel, longest: int) -> None:
        if self.tokens > longest:
            self.tokens //= 2
            self._tell(f"Out of memory: passes have at most {self.tokens} tokens from here on.")
        elif not model.is_gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            self._tell("Out of memory: activations are computed twice from here on.")
        else:
            raise OutOfMemory(
                f"The accelerator ran out of memory with a single row of {longest} tokens.",
                hint="Lower `train.max_context_tokens` or `train.lora_rank`, or use a larger one.",
            )
