"""Every rule that a model must keep, on templates that break it."""

import json
from pathlib import Path
from typing import Any

import pytest

from freesolo.base_models.conformance import inspect
from freesolo.base_models.inspection import inspect_folder, inspect_repository
from freesolo.base_models.questions import Subject
from freesolo.domain.catalog import TemplateFacts
from freesolo.domain.conformance import Check, Inspection, Verdict
from freesolo.errors import InvalidBaseModel
from tests.fake_hugging_face import COMMIT, FakeHuggingFace

TURN = "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
TURNS = "{% for m in messages %}" + TURN + "{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
# Takes thinking out of all turns but the last, and has prompts open it, as Qwen3.5 does.
REWRITES = (
    "{% for m in messages %}"
    "{% set said = m['content'].split('</think>')[-1].lstrip('\\n') %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}"
    "{% set thought = m['content'].split('</think>')[0] if '</think>' in m['content'] else '' %}"
    "{{ '<think>\\n' + thought.split('<think>')[-1].strip('\\n') + '\\n</think>\\n\\n' }}"
    "{% endif %}"
    "{{ said + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
    "{% if enable_thinking is false %}\n</think>\n\n{% endif %}{% endif %}"
)
# Takes thinking out of history; the model opens it itself, after a word that tells it to.
STRIPS = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'].split('</think>')[-1].lstrip('\n')"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if enable_thinking is true %}<|im_start|>system\nThink.<|im_end|>\n{% endif %}"
) + PROMPT
# Leaves history alone; prompts open thinking.
KEEPS = TURNS + (
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is true %}<think>\n{% endif %}{% endif %}"
)
ALWAYS = TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"


def change(folder: Path, name: str, **changes: object) -> Path:
    """Change keys of a JSON file of a model; None removes one."""
    path = folder / name
    document = {**json.loads(path.read_text()), **changes}
    kept = {key: value for key, value in document.items() if value is not None}
    path.write_text(json.dumps(kept))
    return folder


def with_template(folder: Path, template: str | None) -> Inspection:
    """Inspect a model with another chat template."""
    return inspect(Subject(folder=change(folder, "tokenizer_config.json", chat_template=template)))


def check_of(found: Inspection, name: str) -> Check:
    """Return one check of an inspection."""
    (check,) = (check for check in found.checks if check.name == name)
    return check


def test_a_model_that_breaks_no_rule_is_described(tiny: Path) -> None:
    found = inspect(Subject(folder=tiny))
    assert {check.verdict for check in found.checks} == {Verdict.OK}
    assert (found.parameters, found.context, found.thinking) == (90_624, 1024, False)
    assert found.shape is not None
    assert (found.shape.vocabulary, found.shape.tied_embeddings) == (259, True)
    assert found.answers_extend_prompts
    assert found.template == TemplateFacts(append_only=True)


@pytest.mark.parametrize(
    ("template", "check", "words"),
    [
        (None, "template", "no chat template"),
        ("{{ raise_exception('never') }}", "template", "never"),
        ("{% for m in messages %", "template", "fails on a single question"),
        (
            "{% for m in messages if m['role'] != 'assistant' %}" + TURN + "{% endfor %}" + PROMPT,
            "roles",
            "leaves out",
        ),
        (
            "{% for m in messages if m['role'] != 'system' %}" + TURN + "{% endfor %}" + PROMPT,
            "roles",
            "drops system messages",
        ),
        (TURNS, "generation prompt", "adds nothing"),
        (
            "{% if add_generation_prompt %}Answer!\n{% endif %}" + TURNS,
            "generation prompt",
            "rewrites",
        ),
        (TURNS.replace("<|im_end|>", "") + PROMPT, "end of turn", "No special token"),
        (TURNS.replace("<|im_end|>", "<|endoftext|>") + PROMPT, "end of turn", "does not stop"),
    ],
)
def test_a_template_that_breaks_a_rule_is_refused_with_what_to_do(
    tiny: Path, template: str | None, check: str, words: str
) -> None:
    found = check_of(with_template(tiny, template), check)
    assert found.verdict is Verdict.ERROR
    assert words in found.message
    assert found.hint


def test_every_token_at_which_generation_stops_may_end_a_turn(tiny: Path) -> None:
    change(tiny, "generation_config.json", eos_token_id=[2, 0])
    found = with_template(tiny, TURNS.replace("<|im_end|>", "<|endoftext|>") + PROMPT)
    assert check_of(found, "end of turn").verdict is Verdict.OK


def test_a_template_that_refuses_system_messages_is_taken_with_a_warning(tiny: Path) -> None:
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    found = with_template(tiny, refuses + TURNS + PROMPT)
    assert found.errors == ()
    assert "no system" in found.template.warnings[0]


@pytest.mark.parametrize(
    ("template", "facts"),
    [
        (REWRITES, {"opens_thinking": True}),
        (STRIPS, {"append_only": True}),
        (KEEPS, {"append_only": True, "append_only_thinking": True, "opens_thinking": True}),
        (ALWAYS, {"append_only_thinking": True, "opens_thinking": True}),
    ],
)
def test_what_becomes_of_history_and_thinking_is_found_out(
    tiny: Path, template: str, facts: dict[str, bool]
) -> None:
    found = with_template(tiny, template)
    assert found.errors == ()
    assert found.thinking
    assert found.template.model_dump(exclude={"warnings"}, exclude_defaults=True) == facts
    kept = template == KEEPS
    assert (check_of(found, "history").verdict is Verdict.OK) == kept
    assert any("episode" in warning for warning in found.template.warnings) != kept


def test_a_model_that_cannot_stop_thinking_says_so(tiny: Path) -> None:
    check = check_of(with_template(tiny, ALWAYS), "thinking")
    assert (check.verdict, "always thinks" in check.message) == (Verdict.WARNING, True)


def test_a_template_that_rewrites_the_prompt_before_an_answer_cannot_be_imitated(
    tiny: Path,
) -> None:
    found = with_template(tiny, ALWAYS)
    assert not found.answers_extend_prompts
    assert check_of(found, "answers").verdict is Verdict.WARNING


def test_a_template_that_tells_the_date_is_reported(tiny: Path) -> None:
    dated = "{{ '<|im_start|>system\n' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}"
    assert check_of(with_template(tiny, dated + TURNS + PROMPT), "dates").verdict is Verdict.WARNING


def test_a_template_that_reads_parts_is_told_from_one_that_reads_text(tiny: Path) -> None:
    reads = TURNS.replace(
        "m['content']", "(m['content'] if m['content'] is string else m['content'][0]['text'])"
    )
    assert "lists of parts" in check_of(with_template(tiny, reads + PROMPT), "content").message
    assert "plain text" in check_of(with_template(tiny, TURNS + PROMPT), "content").message


def test_a_tokenizer_that_does_not_give_back_a_conversation_is_reported(tiny: Path) -> None:
    path = tiny / "tokenizer.json"
    document: dict[str, Any] = json.loads(path.read_text())
    document["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(document))
    check = check_of(inspect(Subject(folder=tiny)), "special tokens")
    assert (check.verdict, "another text" in check.message) == (Verdict.WARNING, True)


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"model_type": "tiny_own", "auto_map": {"AutoModel": "m.Tiny"}}, "architecture", "own"),
        ({"model_type": "vit"}, "architecture", "no language model"),
        ({"quantization_config": {"quant_method": "fp8"}}, "precision", "quantised"),
        ({"final_logit_softcapping": 30.0}, "output", "final_logit_softcapping = 30.0"),
        ({"logit_scale": [2]}, "output", "logit_scale = [2]"),
    ],
)
def test_a_model_that_cannot_be_trained_here_is_refused(
    tiny: Path, changes: dict[str, object], check: str, words: str
) -> None:
    found = check_of(inspect(Subject(folder=change(tiny, "config.json", **changes))), check)
    assert (found.verdict, words in found.message) == (Verdict.ERROR, True)


@pytest.mark.parametrize("broken", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}"])
def test_weights_that_are_pickled_or_broken_are_refused(tiny: Path, broken: bytes) -> None:
    (tiny / "pytorch_model.bin").write_bytes(b"harm")
    (tiny / "model.safetensors").write_bytes(broken)
    assert check_of(inspect(Subject(folder=tiny)), "weights").verdict is Verdict.ERROR


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert inspect(Subject(folder=tmp_path)).errors


def test_a_tokenizer_that_cannot_be_loaded_is_refused(tiny: Path) -> None:
    (tiny / "tokenizer.json").write_text("{}")
    assert check_of(inspect(Subject(folder=tiny)), "tokenizer").verdict is Verdict.ERROR


def test_a_folder_is_inspected_by_a_process_of_its_own(tiny: Path) -> None:
    assert inspect_folder(tiny) == inspect(Subject(folder=tiny))


def test_a_repository_is_inspected_without_its_weights(
    hugging_face_hub: FakeHuggingFace,
) -> None:
    commit, found = inspect_repository("acme/tiny", "main")
    assert (commit, found.parameters, found.errors) == (COMMIT, 90_624, ())
    assert found.template == TemplateFacts(append_only=True)
    assert "model.safetensors" not in hugging_face_hub.fetched()


def test_a_repository_of_unknown_size_is_refused(hugging_face_hub: FakeHuggingFace) -> None:
    hugging_face_hub.parameters = None
    with pytest.raises(InvalidBaseModel, match="how many parameters acme/tiny has"):
        inspect_repository("acme/tiny", "main")
