"""Answers of models that think aloud: text for every scorer, with its thinking for those that ask.

A trainer gives one to a reward wherever the contract says text. An author who knows nothing of
thinking compares, slices and parses it like any other `str`.
"""

_OPENING = "<think>"
_CLOSING = "</think>"


class Answer(str):
    """An answer without its thinking, which is what the text of this `str` is.

    `thinking` is what was thought before it, empty if nothing was, and `raw` everything that the
    model wrote, tags included. What `str` methods return is plain text again.
    """

    __slots__ = ("raw", "thinking")

    thinking: str
    raw: str

    def __new__(cls, completion: str, *, thinking: str = "", raw: str | None = None) -> "Answer":
        answer = super().__new__(cls, completion)
        answer.thinking = thinking
        answer.raw = str(completion) if raw is None else raw
        return answer

    @property
    def completion(self) -> str:
        """The answer without its thinking, as plain text."""
        return str(self)


def split_thinking(raw: str, *, opened: bool = False) -> Answer:
    """Separate an answer from the thinking that it begins with.

    Thinking runs from a `<think>` at the beginning to the first `</think>`. Chat templates of many
    models write the `<think>` into the prompt, so a `</think>` without one ends thinking too. What
    was opened and never closed, as in an answer that was cut off, is thinking to the end: the
    answer is empty. `opened` says that the prompt ended with `<think>`, which only its writer knows;
    without it, text with neither tag is an answer.
    """
    start = raw.lstrip()
    opened = opened or start.startswith(_OPENING)
    thinking, closed, answer = start.removeprefix(_OPENING).partition(_CLOSING)
    if closed:
        return Answer(answer.strip(), thinking=thinking.strip(), raw=raw)
    if opened:
        return Answer("", thinking=thinking.strip(), raw=raw)
    return Answer(raw)
