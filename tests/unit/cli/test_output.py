"""What is printed is shown, whoever wrote it, and never obeyed by the terminal."""

import json

import pytest

from freesolo.cli.output import Output
from freesolo.errors import InvalidInput, Problem

CLEAR, SHOWN = "\x1b[2J\x9b\u202e", r"\x1b[2J\x9b\u202e"


def test_nothing_that_a_stranger_wrote_steers_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output()
    out.data(f"data {CLEAR}")
    out.piece(f"piece {CLEAR}")
    out.table(["header"], [(f"cell {CLEAR}",)])
    out.fields({"name": f"field {CLEAR}"})
    out.talk(f"talk {CLEAR}")
    out.next_step(f"step {CLEAR}")
    out.error(
        InvalidInput(
            f"message {CLEAR}",
            hint=f"hint {CLEAR}",
            problems=[Problem("a", f"problem {CLEAR}", "x"), Problem(CLEAR, "b", "x")],
            traceback=f"traceback {CLEAR}",
        )
    )

    printed = capsys.readouterr()
    assert printed.out.count(SHOWN) == 4
    assert printed.err.count(SHOWN) == 7
    assert "\x1b" not in printed.out + printed.err


def test_text_in_any_script_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = "two\nlines, äöü, 日本語, 👩‍💻, [bold]brackets[/bold]"
    Output().data(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_half_a_character_is_printed_as_its_escape(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.data("half \ud800")
    out.json_mode = True
    out.document({"half": "\ud800"})
    out.error(InvalidInput("half \udfff"))

    printed = capsys.readouterr()
    printed.out.encode()
    line, document = printed.out.splitlines()
    assert line == r"half \ud800"
    assert json.loads(document) == {"half": "\ud800"}
    assert r"half \udfff" in printed.err
