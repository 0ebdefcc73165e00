"""`[worker_env]`: the environment variables that a config may set for the training process.

That process holds the worker's key, so the list names what may be set, and the form of each value:
nothing here chooses code, a file or an address.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

MAX_VALUE = 200

_COUNT = r"[1-9][0-9]{0,3}"
_SWITCH = r"[01]"
_WORD = r"[A-Za-z]{1,20}"
_OPTIONS = rf"[A-Za-z0-9_.,:\[\]>-]{{1,{MAX_VALUE}}}"

WORKER_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "CUBLAS_WORKSPACE_CONFIG": r":[0-9]{1,6}:[0-9]{1,3}",
        "CUDA_DEVICE_MAX_CONNECTIONS": _COUNT,
        "CUDA_LAUNCH_BLOCKING": _SWITCH,
        "MKL_NUM_THREADS": _COUNT,
        "NCCL_ALGO": _OPTIONS,
        "NCCL_DEBUG": _WORD,
        "NCCL_DEBUG_SUBSYS": _OPTIONS,
        "NCCL_IB_DISABLE": _SWITCH,
        "NCCL_P2P_DISABLE": _SWITCH,
        "NCCL_SHM_DISABLE": _SWITCH,
        "NVIDIA_TF32_OVERRIDE": _SWITCH,
        "OMP_NUM_THREADS": _COUNT,
        "OMP_WAIT_POLICY": _WORD,
        "PYTORCH_ALLOC_CONF": _OPTIONS,
        "PYTORCH_CUDA_ALLOC_CONF": _OPTIONS,
    }
)
# Of these a worker gives as many as it has, and no more.
THREAD_VARIABLES = frozenset({"MKL_NUM_THREADS", "OMP_NUM_THREADS"})


def as_text(value: object) -> object:
    """Return TOML's numbers as the text that a variable holds, and all else as it is."""
    if not isinstance(value, dict):
        return value
    return {
        name: str(each) if isinstance(each, int) and not isinstance(each, bool) else each
        for name, each in value.items()
    }


def check_worker_env(variables: dict[str, str]) -> dict[str, str]:
    """Return `variables` if a config may set them; raise `ValueError` otherwise.

    No value is repeated: what is refused may be a key that belongs among the secrets.
    """
    for name, value in variables.items():
        if name not in WORKER_VARIABLES:
            raise ValueError(
                f"{name!r} cannot be set for the training process; what can: "
                f"{', '.join(WORKER_VARIABLES)}"
            )
        if not re.fullmatch(WORKER_VARIABLES[name], value):
            raise ValueError(
                f"the value of {name} has to match `{WORKER_VARIABLES[name]}` as a whole"
            )
    return variables
