import sys
from pathlib import Path

import pytest

from freesolo.runtime.child import Child, ChildLost

# A process that answers any call with the bytes it was given.
LIAR = """
import os, socket, sys
answer = bytes.fromhex(sys.argv[1])
connection = socket.socket(fileno=int(sys.argv[-1]))
connection.recv(65536)
connection.sendall(answer)
connection.recv(65536)
"""


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
    child = Child([sys.executable, "-c", LIAR, answer], {}, folder=str(tmp_path))

    with pytest.raises(ChildLost, match="protocol"):
        child.ask("load", {}, seconds=30, start_seconds=30)

    child.kill()


def test_a_process_that_never_begins_is_lost(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(60)"], {}, folder=str(tmp_path))

    with pytest.raises(ChildLost, match=r"did not begin `load` within 0\.2 seconds"):
        child.ask("load", {}, seconds=30, start_seconds=0.2)

    child.kill()


def test_a_program_that_does_not_exist_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Child([str(tmp_path / "missing")], {}, folder=str(tmp_path))
