"""Small real things for tests, with sensible defaults."""

import base64
from pathlib import Path

from freesolo.package.archive import Archive, build_archive

ENVIRONMENT_PY = '''"""Answer with the word `yes`."""

from freesolo.environments import EnvironmentSingleTurn


class Agree(EnvironmentSingleTurn):
    dataset = [{"id": "1", "input": "Do you agree?", "output": "yes"}]

    def score_response(self, example, response, **kwargs):
        return float(response.strip() == "yes")


def load_environment(**params):
    return Agree()
'''


def make_environment(
    folder: Path, *, name: str = "agree", version: str = "0.1.0", source: str = ENVIRONMENT_PY
) -> Path:
    """Write a small environment with a manifest into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.py").write_text(source)
    (folder / "environment.toml").write_text(
        f'[environment]\nname = "{name}"\nversion = "{version}"\nsummary = "Agree."\n'
    )
    return folder


def pack_folder(folder: Path) -> Archive:
    """Pack every file of `folder` into `<folder>.tar.zst`."""
    paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return build_archive(folder, paths, folder.with_name(f"{folder.name}.tar.zst"))


def make_artifact(folder: Path, **files: bytes) -> Archive:
    """Pack a folder of `files`, such as an adapter or a trainer's state."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return pack_folder(folder)


def content_digest(archive_digest: str) -> str:
    """Write `sha256:<hex>` as a `Content-Digest` header."""
    raw = bytes.fromhex(archive_digest.removeprefix("sha256:"))
    return f"sha-256=:{base64.b64encode(raw).decode()}:"
