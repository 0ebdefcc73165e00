"""What vLLM is told when it starts: correct and fast LoRA arithmetic for its CPU build.

vLLM 0.32 marks a token that uses no adapter with index -1, and its CPU operations use that index to
look up a weight: the request is answered with the adapter in the last slot. They also copy a whole
adapter's weights for each token. `vllm_cpu_lora` does neither.

vLLM calls `register` through the entry point group `vllm.general_plugins`, in every process of the
engine and possibly more than once.
"""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.lora.lora_model import LoRAModel
    from vllm.lora.request import LoRARequest
    from vllm.lora.worker_manager import WorkerLoRAManager

_WRAPPER = "serving_backend.vllm_cpu_lora.GroupedLora"


def register() -> None:
    """Replace the LoRA arithmetic of vLLM's CPU platform; do nothing on any other platform."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    type(current_platform).get_punica_wrapper = classmethod(lambda _: _WRAPPER)
    _refuse_weights_that_are_not_finite()


def _refuse_weights_that_are_not_finite() -> None:
    """Have vLLM refuse to load an adapter whose weights would spoil the answers beside its own."""
    from vllm.lora.worker_manager import WorkerLoRAManager

    load = WorkerLoRAManager._load_adapter  # noqa: SLF001 - the one place that sees it first
    if hasattr(load, "__wrapped__"):
        return

    @functools.wraps(load)
    def checked(manager: "WorkerLoRAManager", request: "LoRARequest") -> "LoRAModel":
        adapter = load(manager, request)
        for name, layer in adapter.loras.items():
            # As vLLM will merge them.
            if not (
                layer.lora_a.isfinite().all() and (layer.lora_b * layer.scaling).isfinite().all()
            ):
                raise ValueError(f"The adapter's weights for {name} are not finite numbers.")
        return adapter

    WorkerLoRAManager._load_adapter = checked  # noqa: SLF001
