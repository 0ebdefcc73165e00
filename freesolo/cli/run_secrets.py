"""The secrets of a run: which it needs, and where this machine has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freesolo.cli.context import App
from freesolo.domain.refs import EnvRef
from freesolo.domain.train_spec import TrainSpec, job_secrets
from freesolo.package.local_secrets import LocalSecret, find_secrets


@dataclass(frozen=True)
class RunSecrets:
    """The names of what a run's environment and its training process get, and what is set here."""

    environment: tuple[str, ...]
    job: tuple[str, ...]
    local: Mapping[str, LocalSecret] = field(repr=False)

    @property
    def handed(self) -> dict[str, str]:
        """Return what is handed in with the run, by name."""
        return {name: secret.value for name, secret in self.local.items()}

    def source(self, name: str) -> str:
        """Say where a secret comes from."""
        stored = "the project's stored secrets"
        return self.local[name].source if name in self.local else stored

    def tell(self, app: App) -> None:
        """Say which secrets go where."""
        for name in self.environment:
            app.out.talk(f"Its environment gets {name} from {self.source(name)}.")
        for name in self.local.keys() & set(self.job):
            app.out.talk(f"The training process gets {name} from {self.source(name)}.")


def find_run_secrets(app: App, environment: EnvRef, spec: TrainSpec) -> RunSecrets:
    """Look in the shell and the current folder for all that a run on `environment` may have."""
    version = app.environments.ask(environment)
    known = app.hub.info(EnvRef.parse(f"{version.ref}@{version.version}"))
    declared = tuple(sorted({*known.secrets, *spec.environment.secrets}))
    job = job_secrets(spec)
    return RunSecrets(declared, job, find_secrets([*declared, *job], Path.cwd()))
