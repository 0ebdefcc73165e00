import sys
from pathlib import Path

import pytest

from freesolo.runtime import host
from freesolo.runtime.batches import Batch
from freesolo.runtime.child import AuthorRaised, Child, ChildLost, Program
from freesolo.runtime.pool import Launch, Member
from freesolo.runtime.sandbox import machine_limits

# A process that answers any call with the bytes it was given.
LIAR = """
import os, socket, sys
answer = bytes.fromhex(sys.argv[1])
connection = socket.socket(fileno=int(sys.argv[-1]))
connection.recv(65536)
connection.sendall(answer)
connection.recv(65536)
"""


def child_of(*command: str, folder: Path) -> Child:
    return Child(Program(command, folder, machine_limits()))


def framed(*messages: bytes) -> str:
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages).hex()


@pytest.mark.parametrize(
    "answer",
    [
        framed(b"not json"),
        framed(b'{"started": true}', b"[" * 20_000),
        framed(b'{"started": true}', b"3"),
        framed(b'{"started": true}', b'{"raised": 1, "traceback": null}'),
        framed(b"\xff\xfe"),
        b"\xff\xff\xff\xff".hex(),
    ],
)
def test_a_process_that_breaks_the_protocol_is_lost(tmp_path: Path, answer: str) -> None:
    child = child_of(sys.executable, "-c", LIAR, answer, folder=tmp_path)

    with pytest.raises(ChildLost, match="protocol"):
        child.ask("load", {}, seconds=30, start_seconds=30)

    child.kill()


@pytest.mark.parametrize(
    "note",
    [
        "3",
        '"x"',
        "null",
        "[0]",
        '{"value": 1}',
        '{"item": [0]}',
        '{"item": 7}',
        '{"item": 0}, {"item": 0}',
        '{"item": 0, "value": 1}',
        '{"item": 0}, {"item": 0, "value": {"rewards": [' + 900 * "[" + 900 * "]" + "]}}",
    ],
)
def test_a_process_that_tells_nonsense_of_an_item_is_lost(tmp_path: Path, note: str) -> None:
    answer = framed(b'{"started": true}', b'{"items": [%s]}' % note.encode())
    program = Program(
        [sys.executable, "-c", LIAR, answer],
        tmp_path,
        machine_limits(),
        secrets={"KEY": "sk-very-secret"},
    )
    member = Member(Launch(start=lambda: Child(program), load=dict, seconds=30))

    error = member.ask_each("load", {}, Batch.of([0], seconds=30))

    assert "protocol" in str(error)


def test_of_an_exception_the_beginning_and_of_its_traceback_the_end_is_kept(tmp_path: Path) -> None:
    child = child_of(sys.executable, "-c", LIAR, "", folder=tmp_path)
    reply = {"raised": "x" * 10**6, "traceback": "y" * 10**6}

    with pytest.raises(AuthorRaised) as failure:
        child.value(reply, "load")

    child.kill()
    assert len(str(failure.value)) < 1_000
    assert len(failure.value.traceback or "") < 30_000


def test_a_process_that_never_begins_is_lost(tmp_path: Path) -> None:
    child = child_of(sys.executable, "-c", "import time; time.sleep(60)", folder=tmp_path)

    with pytest.raises(ChildLost, match=r"did not begin `load` within 0\.2 seconds"):
        child.ask("load", {}, seconds=30, start_seconds=0.2)

    child.kill()


@pytest.mark.parametrize("folder", ["", "missing"])
def test_what_cannot_be_started_is_lost_and_says_why(tmp_path: Path, folder: str) -> None:
    missing = tmp_path / "missing"
    child = child_of(str(missing), folder=tmp_path / folder)

    with pytest.raises(ChildLost, match="could not be started"):
        child.ask("load", {}, seconds=30, start_seconds=30)

    child.kill()
    assert str(missing) in child.output()


def test_a_question_that_is_too_long_is_lost_and_says_why(tmp_path: Path) -> None:
    child = child_of(sys.executable, "-c", "import time; time.sleep(60)", folder=tmp_path)

    with pytest.raises(ChildLost, match=r"`load` could not be asked: .* bytes"):
        child.ask("load", {"text": "a" * host.MAX_MESSAGE_BYTES}, seconds=30, start_seconds=30)

    child.kill()


def test_a_program_is_printed_without_its_secrets(tmp_path: Path) -> None:
    program = Program(["true"], tmp_path, machine_limits(), secrets={"JUDGE_API_KEY": "sk-12"})
    assert "sk-12" not in repr(program)
