"""The guide "Publish and install", executed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.cli.conftest import Freesolo
from tests.hubs import LiveHub

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "publish-and-install.md"
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_guide_can_be_followed_from_top_to_bottom(
    freesolo: Freesolo, with_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = []
    for block in BLOCK.finditer(GUIDE.read_text()):
        text = block["text"]
        if block["language"] == "":
            for line in text.splitlines():
                follow(line, freesolo, monkeypatch)
                followed.append(line)
        elif block["language"] == "python":
            assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
        elif text.startswith("[project]"):
            assert Path("freesolo.toml").read_text() == text
    assert len(followed) > 20


def follow(line: str, freesolo: Freesolo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a line of a shell says."""
    program, *arguments = shlex.split(line)
    if program == "cd":
        monkeypatch.chdir(arguments[0])
    elif program == "mkdir":
        Path(arguments[0]).mkdir()
    else:
        assert program == "freesolo"
        result = freesolo(*arguments)
        assert result.code == 0, f"{line}\n{result.err}"
