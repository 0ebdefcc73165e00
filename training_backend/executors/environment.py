"""The environment variables of a training process, wherever it runs."""

from collections.abc import Mapping

from freesolo.domain.worker_env import THREAD_VARIABLES
from freesolo.schemas.leases import Lease

# A waiting thread that spins takes the core from the engine and the environment beside it.
_OURS = {
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # CUDA numbers devices as `nvidia-smi` does, from which we know them.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


def job_environment(lease: Lease, inherited: Mapping[str, str], *, threads: int) -> dict[str, str]:
    """Return ours, what is `inherited`, and what the run's config sets: no more than `threads` threads."""
    wanted = lease.spec.worker_env
    bounded = {
        name: str(min(int(wanted.get(name, threads)), threads))
        for name in THREAD_VARIABLES & {"OMP_NUM_THREADS", *wanted}
    }
    return {**_OURS, **inherited, **wanted, **bounded}
