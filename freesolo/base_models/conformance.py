"""Look at a model's folder before it joins the catalog: its config, and what its chat template does.

Training needs more of a template than serving: where a prompt ends and an answer begins, what marks
an answer's end, whether later turns leave earlier ones as they were. Each rule is checked on the
model's own tokenizer. Run as its own process, so that nobody else has to import `transformers`, and
so that a template, which is a program of the model's, has an end::

    python -m freesolo.base_models.conformance
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from freesolo.base_models.children import reply
from freesolo.base_models.questions import Subject
from freesolo.domain.catalog import HISTORY_IS_REWRITTEN, TemplateFacts
from freesolo.domain.conformance import Check, Inspection, Verdict
from freesolo.domain.model_shapes import shape_from_config

Message = dict[str, Any]

# Words that no template writes by itself.
_SYSTEM, _FIRST, _ANSWER = "Be terse, quoth Zebulon.", "Name a quince.", "Vranja is one."
_SECOND, _THOUGHT = "And a medlar?", "Quinces first, medlars later."
_OPEN, _CLOSE = "<think>", "</think>"
_LARGEST_HEADER = 100 << 20
# What configs of Granite, Cohere and Gemma 2 do to logits behind the output layer.
_BENDS_LOGITS = ("logits_scaling", "logit_scale", "final_logit_softcapping")
_TEMPLATE_HINT = "Put one that does into the model's folder, as `chat_template.jinja`."

_ok = partial(Check, verdict=Verdict.OK)
_warning = partial(Check, verdict=Verdict.WARNING)
_error = partial(Check, verdict=Verdict.ERROR)


def inspect(subject: Subject) -> Inspection:
    """Check a model and return every finding, and the facts that go into its entry."""
    found = _look_at_config(subject)
    if found.errors:
        return found
    opened, chat = _open_template(subject.folder)
    facts = _look_at_template(chat) if chat else {"checks": ()}
    return found.model_copy(update={**facts, "checks": (*found.checks, opened, *facts["checks"])})


# The model itself


def _look_at_config(subject: Subject) -> Inspection:
    config = _json(subject.folder / "config.json")
    if not config:
        missing = (
            "There is no readable config.json: this is no folder in the layout of `transformers`."
        )
        return Inspection(checks=(_error(name="config", message=missing, hint="Name another."),))
    # Of a model that also sees, what reads is described apart.
    text = {**config, **(config.get("text_config") or {})}
    checks = [_architecture(config)]
    if bent := [name for name in _BENDS_LOGITS if text.get(name) not in (None, 1)]:
        checks.append(
            _error(
                name="output",
                message=f"Its logits are scaled or capped ({bent[0]} = {text[bent[0]]}), and losses are "
                "computed without that.",
                hint="Use another base model.",
            )
        )
    if "quantization_config" in config:
        checks.append(
            _error(
                name="precision",
                message="Its weights are quantised, and adapters are trained on whole ones.",
                hint="Add the model that it was made from.",
            )
        )
    context = text.get("max_position_embeddings")
    parameters = None
    if subject.weights:
        parameters = count_parameters(subject.folder)
        checks.append(_weights(parameters))
    return Inspection(
        checks=tuple(checks),
        parameters=parameters,
        context=context if isinstance(context, int) else None,
        shape=shape_from_config(config),
    )


def _architecture(config: Mapping[str, Any]) -> Check:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    check = partial(_error, name="architecture", hint="Use a model of a known architecture.")
    if kind not in CONFIG_MAPPING_NAMES:
        its_own = " but with code of its own, which is not run" if "auto_map" in config else ""
        return check(message=f"The installed `transformers` does not know {kind!r}{its_own}.")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return check(message=f"{kind!r} is no language model that answers token by token.")
    return _ok(name="architecture", message=f"{kind}, known to `transformers`")


def _weights(parameters: int | None) -> Check:
    if parameters is None:
        return _error(
            name="weights",
            message="There are no whole weights as safetensors; pickled ones can run code.",
            hint="Save the model with `save_pretrained`, which writes safetensors.",
        )
    return _ok(name="weights", message=f"{parameters:,} parameters as safetensors")


def count_parameters(folder: Path) -> int | None:
    """Add up what the headers of a folder's safetensors say, or return None if they cannot be read."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.startswith("consolidated"):
            continue
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if length <= _LARGEST_HEADER else {}
            total += sum(
                math.prod(tensor["shape"])
                for name, tensor in header.items()
                if not name.startswith("_")
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
    return total or None


# Its chat template


@dataclass(frozen=True)
class Chat:
    """A model's chat template. `thinking` is left out where a caller says nothing of it."""

    tokenizer: Any
    end_ids: frozenset[int]

    def text(
        self, messages: Sequence[Message], *, prompt: bool = False, thinking: bool | None = None
    ) -> str:
        """Return a conversation as the model reads it; with `prompt`, up to where it answers."""
        switch = {} if thinking is None else {"enable_thinking": thinking}
        rendered: str = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=prompt, tokenize=False, **switch
        )
        return rendered

    def refusal(self, messages: Sequence[Message]) -> str | None:
        """Return why the template refuses a conversation, or None if it does not."""
        try:
            self.text(messages)
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's
            return str(error) or type(error).__name__
        return None

    def ids(self, text: str) -> list[int]:
        """Return a text's tokens, with none added."""
        encoded: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return encoded


def _open_template(folder: Path) -> tuple[Check, Chat | None]:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001 - whatever a stranger's files make of it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"The tokenizer cannot be loaded: {reason}"
        hint = "The folder needs a tokenizer that `transformers` loads without code of the model's."
        return _error(name="tokenizer", message=message, hint=hint), None
    chat = Chat(tokenizer, _end_ids(folder, tokenizer))
    if not tokenizer.chat_template:
        message = "There is no chat template: this is a model that was not taught to converse."
        return _error(name="template", message=message, hint=_TEMPLATE_HINT), None
    if refusal := chat.refusal([_user(_FIRST)]):
        message = f"The chat template fails on a single question: {refusal}"
        return _error(name="template", message=message, hint=_TEMPLATE_HINT), None
    return _ok(name="template", message="a chat template that renders"), chat


def _end_ids(folder: Path, tokenizer: Any) -> frozenset[int]:  # noqa: ANN401 - of transformers
    """Return every token at which generation stops: there may be several."""
    named = _json(folder / "generation_config.json").get("eos_token_id")
    several = named if isinstance(named, list) else [named]
    return frozenset(each for each in (*several, tokenizer.eos_token_id) if isinstance(each, int))


def _look_at_template(chat: Chat) -> dict[str, Any]:
    roles = list(_roles(chat))
    if any(check.verdict is Verdict.ERROR for check in roles):
        return {"checks": tuple(roles)}
    thinking, opens = _thinking(chat)
    histories = [_history(chat, thinks=False), *([_history(chat, thinks=True)] if thinking else ())]
    separable = all(_answer_extends_prompt(chat, thinks=mode) for mode in {False, thinking})
    checks = (
        *roles,
        _generation_prompt(chat),
        _end_of_turn(chat),
        _special_tokens(chat),
        _content(chat),
        _thinking_check(chat, thinking=thinking, opens=opens),
        _history_check(histories),
        _answers(separable=separable),
        *_dates(chat),
    )
    warnings = tuple(check.message for check in checks if check.verdict is Verdict.WARNING)
    return {
        "checks": checks,
        "thinking": thinking,
        "answers_extend_prompts": separable,
        "template": TemplateFacts(
            append_only=histories[0],
            append_only_thinking=thinking and histories[-1],
            opens_thinking=opens,
            warnings=warnings,
        ),
    }


def _roles(chat: Chat) -> Iterator[Check]:
    conversation = [_user(_FIRST), _assistant(_ANSWER), _user(_SECOND)]
    refusal = chat.refusal(conversation)
    if refusal or not _in_order(chat.text(conversation), _FIRST, _ANSWER, _SECOND):
        said = f"fails: {refusal}" if refusal else "leaves out or reorders what was said"
        message = f"With user and assistant in turns, the template {said}"
        yield _error(name="roles", message=message, hint=_TEMPLATE_HINT)
        return
    with_system = [_system(_SYSTEM), *conversation]
    if refusal := chat.refusal(with_system):
        yield _warning(
            name="roles",
            message=f"The template refuses system messages ({refusal}), so environments that use "
            "them cannot be trained on this model.",
        )
    elif not _in_order(chat.text(with_system), _SYSTEM, _FIRST, _ANSWER, _SECOND):
        message = "The template drops system messages without a word."
        yield _error(name="roles", message=message, hint=_TEMPLATE_HINT)
    else:
        yield _ok(name="roles", message="system, user and assistant")


def _generation_prompt(chat: Chat) -> Check:
    said, asked = chat.text([_user(_FIRST)]), chat.text([_user(_FIRST)], prompt=True)
    if asked.startswith(said) and asked != said:
        return _ok(name="generation prompt", message=f"adds {asked[len(said) :]!r}")
    fault = "adds nothing" if asked == said else "rewrites the conversation before it"
    message = f"Asked for a prompt to answer, the template {fault}."
    return _error(name="generation prompt", message=message, hint=_TEMPLATE_HINT)


def _end_of_turn(chat: Chat) -> Check:
    check = partial(_error, name="end of turn")
    after = chat.text([_user(_FIRST), _assistant(_ANSWER)]).rpartition(_ANSWER)[2]
    special = [each for each in chat.ids(after) if each in chat.tokenizer.all_special_ids]
    # A tokenizer may know tokens of turns only as added ones.
    marks = special or [each for each in chat.ids(after) if each in _added_ids(chat)]
    if not marks:
        message = "No special token marks the end of an answer, so a model never learns to stop."
        return check(message=message, hint=_TEMPLATE_HINT)
    token = chat.tokenizer.convert_ids_to_tokens(marks[0])
    if marks[0] not in chat.end_ids:
        return check(
            message=f"An answer ends with {token!r}, at which generation does not stop.",
            hint=f"Add {marks[0]} to `eos_token_id` in the model's generation_config.json.",
        )
    return _ok(name="end of turn", message=f"{token!r}, at which generation stops")


def _special_tokens(chat: Chat) -> Check:
    text = chat.text([_user(_FIRST), _assistant(_ANSWER), _user(_SECOND)], prompt=True)
    ids = chat.ids(text)
    decoded = chat.tokenizer.decode(
        ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    if decoded != text:
        return _warning(
            name="special tokens",
            message="A conversation's tokens, written out, are another text, so an environment may read "
            "something else than the model wrote.",
        )
    return _ok(name="special tokens", message="a conversation comes back as it was")


def _content(chat: Chat) -> Check:
    parts = [{"role": "user", "content": [{"type": "text", "text": _FIRST}]}]
    reads = not chat.refusal(parts) and chat.text(parts) == chat.text([_user(_FIRST)])
    return _ok(name="content", message="text, and lists of parts" if reads else "plain text only")


def _thinking(chat: Chat) -> tuple[bool, bool]:
    """Return whether the model thinks, and whether the prompt opens its thinking."""
    asked = [_user(_FIRST)]
    thoughtful = chat.text(asked, prompt=True, thinking=True)
    opens = thoughtful.rstrip().endswith(_OPEN)
    return opens or thoughtful != chat.text(asked, prompt=True, thinking=False), opens


def _thinking_check(chat: Chat, *, thinking: bool, opens: bool) -> Check:
    if not thinking:
        return _ok(name="thinking", message="no thinking mode: `enable_thinking` changes nothing")
    asked = [_user(_FIRST)]
    if chat.text(asked, prompt=True, thinking=True) == chat.text(
        asked, prompt=True, thinking=False
    ):
        return _warning(
            name="thinking",
            message="The model always thinks: `thinking = false` does not switch it off.",
        )
    where = "the prompt opens it" if opens else "the answer opens it"
    return _ok(name="thinking", message=f"switched by `enable_thinking`; {where}")


def _history(chat: Chat, *, thinks: bool) -> bool:
    """Say whether the second prompt begins with the first, its answer and the end of that turn."""
    asked = [_user(_FIRST)]
    before = chat.text(asked, prompt=True, thinking=thinks)
    answer = f"{_OPEN}\n{_THOUGHT}\n{_CLOSE}\n\n{_ANSWER}" if thinks else _ANSWER
    generated = answer
    if before.rstrip().endswith(_OPEN):
        # What stands before the thought is the prompt's.
        generated = answer.removeprefix(_OPEN).removeprefix(_gap_after(before))
    told = [*asked, _assistant(answer)]
    end = chat.text(told, thinking=thinks).rpartition(_ANSWER)[2]
    later = chat.text([*told, _user(_SECOND)], prompt=True, thinking=thinks)
    return later.startswith(before + generated + end)


def _gap_after(prompt: str) -> str:
    return prompt[len(prompt.rstrip()) :]


def _history_check(histories: Sequence[bool]) -> Check:
    if all(histories):
        return _ok(name="history", message="stays as it was generated, over turns")
    if histories[0]:
        return _warning(
            name="history",
            message=f"With thinking: {HISTORY_IS_REWRITTEN[0].lower()}{HISTORY_IS_REWRITTEN[1:]}",
        )
    return _warning(name="history", message=HISTORY_IS_REWRITTEN)


def _answer_extends_prompt(chat: Chat, *, thinks: bool) -> bool:
    asked = [_user(_FIRST)]
    before = chat.text(asked, prompt=True, thinking=thinks)
    return chat.text([*asked, _assistant(_ANSWER)], thinking=thinks).startswith(before)


def _answers(*, separable: bool) -> Check:
    if separable:
        return _ok(name="answers", message="begin where the prompt ends")
    return _warning(
        name="answers",
        message="The template rewrites a prompt once an answer follows it, so SFT cannot train on "
        "this model.",
    )


def _dates(chat: Chat) -> Iterator[Check]:
    if "strftime_now" in str(chat.tokenizer.chat_template):
        yield _warning(
            name="dates",
            message="The template writes the date into prompts, so the same run is not the same "
            "tomorrow.",
        )


def _added_ids(chat: Chat) -> set[int]:
    return set(chat.tokenizer.added_tokens_decoder)


def _in_order(text: str, *parts: str) -> bool:
    places = [text.find(part) for part in parts]
    return -1 not in places and places == sorted(places)


def _system(content: str) -> Message:
    return {"role": "system", "content": content}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


if __name__ == "__main__":
    reply(Subject, inspect)
