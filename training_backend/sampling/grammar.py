"""What every answer of a run must look like, for the sampler in the trainer's process.

A grammar tells which tokens may come next. It narrows what is drawn from, and not what is reported.
"""

import importlib.util
import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from freesolo.domain.train_tables import StructuredOutputs
from freesolo.errors import EngineUnavailable, InvalidTrainSpec
from training_backend.sampling.sampler import Ids

if TYPE_CHECKING:
    from xgrammar import CompiledGrammar, GrammarCompiler


class Grammar:
    """A run's shape of answers, compiled for its tokenizer.

    `vocabulary` is the number of logits, which may be more than the tokenizer has tokens.
    `thinking_end` ends what no grammar applies to; empty if answers begin at once.
    """

    def __init__(
        self,
        outputs: StructuredOutputs,
        tokenizer: PreTrainedTokenizerBase,
        *,
        vocabulary: int,
        stop_ids: Collection[int],
        thinking_end: Ids = (),
    ) -> None:
        if importlib.util.find_spec("xgrammar") is None:
            raise EngineUnavailable(
                "`train.structured_outputs` needs the package xgrammar, which is not installed.",
                hint="`pip install 'freesolo[train]'` installs it.",
            )
        import xgrammar

        about = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocabulary, stop_token_ids=sorted(stop_ids)
        )
        self._vocabulary = vocabulary
        self._thinking_end = thinking_end
        try:
            self._compiled = _compile(xgrammar.GrammarCompiler(about), outputs)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InvalidTrainSpec(
                f"`train.structured_outputs` cannot be compiled: {reason}."
            ) from None

    def follow(self) -> "Follower":
        """Return what watches over one answer."""
        return Follower(self._compiled, self._vocabulary, self._thinking_end)


class Follower:
    """One answer's way through a grammar."""

    def __init__(self, compiled: "CompiledGrammar", vocabulary: int, thinking_end: Ids) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled)
        # The matcher writes to the CPU's memory, wherever the model is.
        shape = xgrammar.get_bitmask_shape(1, vocabulary)
        self._mask = torch.full(shape, -1, dtype=xgrammar.bitmask_dtype, device="cpu")
        self._thinking_end = thinking_end
        self._thinking = bool(thinking_end)

    def narrow(self, logits: Tensor) -> None:
        """Make what may not come next impossible in one row of logits, of shape (vocabulary,)."""
        import xgrammar

        if not self._thinking and self._matcher.fill_next_token_bitmask(self._mask):
            xgrammar.apply_token_bitmask_inplace(logits[None], self._mask.to(logits.device))

    def heard(self, said: Sequence[int]) -> None:
        """Note the newest token of all that was said."""
        if self._thinking:
            self._thinking = tuple(said[-len(self._thinking_end) :]) != self._thinking_end
        else:
            self._matcher.accept_token(said[-1])


def _compile(compiler: "GrammarCompiler", outputs: StructuredOutputs) -> "CompiledGrammar":
    whitespace = not outputs.disable_any_whitespace
    if outputs.json_schema is not None:
        return compiler.compile_json_schema(
            json.dumps(outputs.json_schema), any_whitespace=whitespace
        )
    if outputs.regex is not None:
        return compiler.compile_regex(outputs.regex)
    if outputs.choice is not None:
        return compiler.compile_grammar("root ::= " + " | ".join(map(_literal, outputs.choice)))
    if not whitespace:
        return compiler.compile_json_schema('{"type": "object"}', any_whitespace=False)
    return compiler.compile_builtin_json_grammar()


def _literal(text: str) -> str:
    """Return a text as a grammar writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
