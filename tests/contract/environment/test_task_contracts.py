import json
from pathlib import Path
from typing import Any

import pytest

from freesolo.contracts import (
    ContractSpec,
    build_oracle_messages,
    extract_contract_spec,
    load_contract_spec,
    load_contract_text,
)
from tests.contract.environment.clauses import clause
from tests.contract.environment.test_environments import EXAMPLE, Echo

SPEC: ContractSpec = {"prompt": {"system": "Be brief.", "user": "Compute {input}"}}
FENCED = f"Answer with a number.\n\n```freesolo-contract\n{json.dumps(SPEC)}\n```\nThat is all.\n"


@clause("C11.1")
def test_a_contract_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "contract.md"
    path.write_text(f"\n {FENCED} \n", encoding="utf-8")

    assert load_contract_text(path) == FENCED.strip()
    assert load_contract_spec(str(path)) == SPEC


@clause("C11.1")
def test_a_byte_order_mark_is_no_part_of_a_contract(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    path.write_text(f"\ufeff{json.dumps(SPEC)}", encoding="utf-8")

    assert load_contract_spec(path) == SPEC


@clause("C11.2")
@pytest.mark.parametrize(
    "text",
    [
        FENCED,
        FENCED.replace("```freesolo-contract", "```json freesolo-contract"),
        FENCED.replace("freesolo-contract", "Freesolo-Contract"),
        FENCED + "```freesolo-contract\n{}\n```",
        f"```json\n{{}}\n```\n{FENCED}",
        f"  {json.dumps(SPEC)}\n",
        FENCED.replace("\n", "\r\n"),
        FENCED.replace("```", "  ```"),
    ],
)
def test_a_specification_is_the_whole_text_or_its_first_block(text: str) -> None:
    assert extract_contract_spec(text) == SPEC


@clause("C11.2")
@pytest.mark.parametrize(
    "text", ["", "  \n", "Be brief.", "```json\n{}\n```", "```freesolo-contract\n \n```"]
)
def test_a_text_without_a_specification_has_none(text: str) -> None:
    assert extract_contract_spec(text) is None


@clause("C11.2")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is an object, not list"),
        ("```freesolo-contract\n3\n```", "is an object, not int"),
        ('{"evaluations": []}', "reward_functions"),
    ],
)
def test_what_is_no_specification_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extract_contract_spec(text)


@clause("C11.2")
@pytest.mark.parametrize("text", ["{", "```freesolo-contract\n{,}\n```"])
def test_a_broken_specification_is_broken_json(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        extract_contract_spec(text)


def said(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


@clause("C11.3")
@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ({"system": " Be brief. ", "user": "{input}={input}?"}, ["Be brief.", "6*7=6*7?"]),
        ({"system": "Compute {input}", "user": " "}, ["Compute 6*7", "6*7"]),
        ({"user": "Compute {input}"}, [None, "Compute 6*7"]),
        ({}, [None, "6*7"]),
        ({"system": "", "user": "", "messages": []}, [None, "6*7"]),
        ("a prompt that is no object", [None, "6*7"]),
    ],
)
def test_a_model_is_asked_with_the_prompt_of_the_specification(
    prompt: Any,  # noqa: ANN401
    messages: list[str | None],
) -> None:
    system, user = messages
    expected = said(*([("system", system)] if system else []), ("user", user or ""))

    assert build_oracle_messages("6*7", "", {"prompt": prompt}) == expected


@clause("C11.3")
def test_messages_that_are_written_out_are_asked_in_their_order() -> None:
    items: Any = [
        {"role": "system", "content": "Be brief: {input}"},
        "no object",
        {"role": " ", "content": 3},
    ]

    assert build_oracle_messages("6*7", "", {"prompt": {"messages": items}}) == said(
        ("system", "Be brief: {input}"), ("user", "3")
    )


@clause("C11.3")
def test_an_environment_asks_for_the_gold_answer_of_an_example() -> None:
    assert Echo().build_oracle_messages(EXAMPLE, FENCED) == said(
        ("system", "Be brief."), ("user", "Compute q")
    )
    assert Echo().build_oracle_messages(EXAMPLE, FENCED, contract_spec={}) == said(("user", "q"))
