"""The interpreter an environment runs in: its own virtual environment, and the contract beside it.

Even without requirements the virtual environment is a fresh one, so that an author's code cannot
come to depend on what the trainer happens to have installed. Everything is kept under a digest of
what it was made from, and appears complete or not at all.
"""

import compileall
import errno
import hashlib
import json
import os
import platform
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from filelock import FileLock
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from uv import find_uv_bin

import freesolo
from freesolo.domain.pythons import oldest_python
from freesolo.errors import EnvironmentFailed, StorageFull, Unavailable

_UNSOLVABLE = 1  # uv's exit status when no set of versions fits
_ERROR_CHARS = 2000
_INSTALL_SECONDS = 600
# What some packages need less, or more, than they say: see there.
_CORRECTIONS = Path(__file__).parent / "corrections.toml"
# What an environment may import of ours; all of it needs only the standard library.
_CONTRACT_FILES = (
    *("__init__.py", "contracts.py", "openai_client.py"),
    *("datasets/*.py", "environments/*.py", "runtime/host.py"),
)
# Where suites written for the public command line import their classes from. No `__init__.py` lies
# there, so that a package `flash` which the environment depends on goes first.
_ALSO_AS = {
    "environments/flash_evaluations.py": (
        "flash/envs/evaluations.py",
        "flash/envs/meta/evaluations.py",
    ),
}


def ensure_venv(
    cache_dir: Path,
    requirements: Iterable[str],
    *,
    requires_python: str = "",
    pylock: Path | None = None,
) -> Path:
    """Return the `python` of a virtual environment that holds exactly `requirements`.

    With `pylock` it also holds what that file names, checked by the hashes in it. It is built on
    first use, from wheels only: a source distribution would run its author's code here, outside any
    sandbox. Raise `EnvironmentFailed` if the requirements cannot be met and `Unavailable` if the
    package index does not answer.
    """
    wanted = sorted(set(requirements))

    def build(folder: Path) -> None:
        _make(folder, _interpreter(requires_python))
        if pylock:
            # uv knows the format by the name, and asks for a name of this form.
            copy = shutil.copyfile(pylock, folder / "pylock.toml")
            _install(folder, "--preview-features", "pylock", "--requirements", str(copy))
        if wanted:
            _install(folder, *wanted)

    target = venv_folder(cache_dir, wanted, requires_python=requires_python, pylock=pylock)
    return _ensure(target, build, proof="bin/python") / "bin" / "python"


def venv_folder(
    cache_dir: Path,
    requirements: Iterable[str],
    *,
    requires_python: str = "",
    pylock: Path | None = None,
) -> Path:
    """Return where the virtual environment of `ensure_venv` is, made or not."""
    wanted = sorted(set(requirements))
    locked = pylock.read_text(encoding="utf-8") if pylock else ""
    interpreter = (_interpreter(requires_python), platform.python_version(), sys.base_prefix)
    recipe = [*interpreter, wanted, locked, _CORRECTIONS.read_text(encoding="utf-8")]
    return _address(cache_dir / "venvs", json.dumps(recipe).encode())


@dataclass(frozen=True)
class Installed:
    """What a virtual environment holds: the version of its Python, and of each package by its name."""

    python: str
    packages: Mapping[str, str]


def installed_in(python: Path) -> Installed:
    """Read what the virtual environment of `python` holds; nothing runs in it for that.

    Which versions meet the requirements is decided when it is built, so this is how it is known.
    """
    folder = python.parent.parent
    facts = (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in facts)}
    places = [str(place) for place in folder.glob("lib/python*/site-packages")]
    packages = {
        canonicalize_name(found.name): found.version for found in distributions(path=places)
    }
    return Installed(told["version_info"], dict(sorted(packages.items())))


def compile_pylock(requirements: Iterable[str], *, requires_python: str, earlier: str = "") -> str:
    """Choose versions for `requirements`, and return them as a pylock with the hashes of wheels.

    They serve every platform and every Python from the oldest of `requires_python` on. What
    `earlier`, a pylock too, holds is kept where it fits. Raise `EnvironmentFailed` if the
    requirements cannot be met and `Unavailable` if the package index does not answer.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wanted, output = folder / "requirements.in", folder / "pylock.toml"
        wanted.write_text("".join(f"{text}\n" for text in sorted(set(requirements))))
        if earlier:
            output.write_text(earlier, encoding="utf-8")
        arguments = ["--format", "pylock.toml", "--output-file", str(output), "--no-header"]
        arguments += ["--universal", "--no-build", "--quiet"]
        if oldest := oldest_python(requires_python):
            arguments += ["--python-version", str(oldest)]
        _correct(folder)
        done = _uv(folder, "pip", "compile", str(wanted), *arguments)
        _refuse(done)
        return output.read_text(encoding="utf-8")


def ensure_contract(cache_dir: Path) -> Path:
    """Return a folder with those modules of ours that an environment may import, and nothing else."""
    sources = _contract_sources(Path(freesolo.__file__).parent)
    digest = hashlib.sha256()
    for place, source in sources.items():
        digest.update(place.encode())
        digest.update(hashlib.sha256(source.read_bytes()).digest())

    def build(folder: Path) -> None:
        for place, source in sources.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        # Processes only read it: without this each of them would compile it anew.
        compileall.compile_dir(
            folder, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )

    target = _address(cache_dir / "contracts", digest.digest())
    return _ensure(target, build, proof="freesolo/runtime/host.py")


def interpreter_prefix(python: Path) -> Path:
    """Return the installation that a virtual environment's `python` is a link into."""
    return python.resolve().parent.parent


def _contract_sources(package: Path) -> dict[str, Path]:
    """Return the files of the contract by their places in its folder."""
    files = [path for pattern in _CONTRACT_FILES for path in sorted(package.glob(pattern))]
    sources = {f"freesolo/{path.relative_to(package).as_posix()}": path for path in files}
    also = {place: package / name for name, places in _ALSO_AS.items() for place in places}
    return sources | also


def _interpreter(requires_python: str) -> str:
    """Return our own interpreter if it is allowed, or else the range for uv to search for."""
    if SpecifierSet(requires_python).contains(platform.python_version(), prereleases=True):
        return sys.executable
    return requires_python


def _address(parent: Path, recipe: bytes) -> Path:
    return parent / hashlib.sha256(recipe).hexdigest()[:32]


def _ensure(target: Path, build: Callable[[Path], None], *, proof: str) -> Path:
    """Return `target`, built if the file `proof` is not in it.

    That may be a link to an interpreter which somebody has removed, or a cleaner of caches was there.
    """
    if (target / proof).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        if not (target / proof).is_file():
            _build_beside(target, build)
    return target


def _build_beside(target: Path, build: Callable[[Path], None]) -> None:
    # We hold the lock: what others began, they were killed at.
    for half_built in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(half_built, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        build(folder)
        folder.chmod(0o755)
        with suppress(FileNotFoundError):
            target.rename(f"{folder}-damaged")
        folder.rename(target)
    finally:
        for left in (folder, Path(f"{folder}-damaged")):
            shutil.rmtree(left, ignore_errors=True)


def _make(folder: Path, python: str) -> None:
    made = _uv(folder, "venv", "--quiet", "--relocatable", "--python", python, str(folder))
    if made.returncode != 0:
        raise Unavailable(
            f"A virtual environment for Python {python!r} cannot be made: {_reason(made)}",
            hint="Install such a Python, or widen `requires-python` in environment.toml.",
        )


def _install(folder: Path, *what: str) -> None:
    python = str(folder / "bin" / "python")
    options = ("--no-build", "--compile-bytecode", "--quiet", "--python", python)
    _correct(folder)
    _refuse(_uv(folder, "pip", "install", *options, *what))


def _correct(folder: Path) -> None:
    # uv reads the file of this name where it runs, beside the user's own.
    shutil.copyfile(_CORRECTIONS, folder / "uv.toml")


def _refuse(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode == _UNSOLVABLE:
        raise EnvironmentFailed(
            f"The environment's dependencies cannot be installed: {_reason(done)}",
            hint="Only wheels are installed; see `dependencies` in environment.toml.",
        )
    if done.returncode != 0:
        raise Unavailable(
            f"The environment's dependencies could not be fetched: {_reason(done)}",
            hint="Try again.",
        )


def _uv(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Run in our folder: uv obeys the configuration it finds where it is, which may be an author's.
    try:
        done = subprocess.run(
            [find_uv_bin(), *arguments, "--no-python-downloads"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"uv, which makes virtual environments, is not there: {error}.",
            hint="It comes with freesolo; install that again.",
        ) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"Installing the environment's dependencies took more than {_INSTALL_SECONDS} seconds."
        ) from None
    if done.returncode != 0 and os.strerror(errno.ENOSPC) in done.stderr:
        raise StorageFull(f"The disk is full: {_reason(done)}", hint="Free some space.")
    return done


def _reason(failed: subprocess.CompletedProcess[str]) -> str:
    return failed.stderr.strip()[-_ERROR_CHARS:]
