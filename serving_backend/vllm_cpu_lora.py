"""What vLLM calls for its LoRA layers on a CPU. Loaded inside vLLM's processes only."""

from torch import Tensor
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from serving_backend.cpu_lora import Batch, Weights, add, add_by_adapter, pack, plan


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM is not typed here
    """Decides once for each step how its batch is computed, and does that in every layer."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._tokens = self._answers = Batch((), {})
        # By the tuple in which a layer keeps its weights, as long as it lives.
        self._packed: dict[int, Weights] = {}

    def update_metadata(self, *args: object, **kwargs: object) -> None:
        """Look at the adapters of the next step's rows."""
        super().update_metadata(*args, **kwargs)
        self._tokens = plan(self.token_lora_indices)
        self._answers = plan(self.sampler_indices)

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: tuple[Tensor, ...],
        lora_b_stacked: tuple[Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **kwargs: object,
    ) -> None:
        """Add what adapters make of `x` to `y`. `scale` is 1: vLLM has merged it into the weights."""
        if not self._tokens.pieces:
            return
        key = id(lora_a_stacked)
        if key not in self._packed:
            self._packed[key] = pack(lora_a_stacked, lora_b_stacked)
        add(y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1]), self._packed[key], self._tokens)

    def add_lora_embedding(
        self,
        y: Tensor,
        x: Tensor,
        lora_b_stacked: Tensor,
        add_inputs: bool = True,
        **kwargs: object,
    ) -> None:
        """Add what adapters make of an embedding that they have shrunk."""
        add_by_adapter(y, x, None, lora_b_stacked, self._tokens)

    def add_lora_logits(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: Tensor,
        lora_b_stacked: Tensor,
        scale: float,
        **kwargs: object,
    ) -> None:
        """Add what adapters make of the rows that answers go on from to their logits."""
        add_by_adapter(
            y.view(-1, y.shape[-1]),
            x.view(-1, x.shape[-1]),
            lora_a_stacked,
            lora_b_stacked,
            self._answers,
        )
