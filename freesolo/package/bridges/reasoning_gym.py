"""Tasks of the library reasoning-gym as environments.

What tasks there are is asked of the library itself, in a host whose virtual environment holds it: the
same in which the new environment will run.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from freesolo.domain.suggest import did_you_mean
from freesolo.errors import TaskNotFound
from freesolo.package.bridges.writing import BRIDGES, filled_in
from freesolo.runtime.client import HostOptions, open_host

VERSION = "0.1.25"
_FILES = BRIDGES / "reasoning-gym"
# Answers with a row for each task. It stands on the stand-ins that the tasks stand on.
_CATALOG = BRIDGES / "reasoning-gym-catalog"


@dataclass(frozen=True)
class ReasoningGymTask:
    """A task of the library. `config` holds what says how hard it is, with the defaults."""

    name: str
    config: Mapping[str, object]

    @property
    def title(self) -> str:
        """What an environment was made from, for people to read."""
        return f"the task {self.name} of reasoning-gym {VERSION}"

    def files(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Yield the environment's files."""
        config = "\n".join(f"- `{name} = {value}`" for name, value in self.config.items())
        return filled_in(_FILES, task=self.name, version=VERSION, config=config or "(none)")


def find_task(name: str, options: HostOptions) -> ReasoningGymTask:
    """Return a task by its name.

    Raise `TaskNotFound` with the nearest name, or all; `EnvironmentFailed` or `Unavailable` if the
    library cannot be installed or loaded.
    """
    tasks = _all_tasks(options)
    if name not in tasks:
        raise TaskNotFound(
            f"reasoning-gym {VERSION} has no task {name!r}.",
            hint=did_you_mean(name, tasks) or f"There are: {', '.join(sorted(tasks))}.",
        )
    return tasks[name]


def _all_tasks(options: HostOptions) -> dict[str, ReasoningGymTask]:
    with tempfile.TemporaryDirectory(prefix="freesolo-bridge-") as scratch:
        folder = Path(scratch)
        for path, content in filled_in(_CATALOG, version=VERSION):
            (folder / path).write_bytes(content)
        (folder / "stand_ins.py").write_bytes((_FILES / "stand_ins.py").read_bytes())
        with open_host(folder, options) as host:
            return {row.input: ReasoningGymTask(row.input, row.metadata) for row in host.examples()}
