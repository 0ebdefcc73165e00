"""Which sampler a run gets. No torch here."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from freesolo.engines import INSTALL_HINT
from freesolo.errors import EngineUnavailable


class SamplerKind(StrEnum):
    """Who samples: the process that trains, a vLLM server, or whichever fits."""

    AUTO = "auto"
    IN_PROCESS = "in-process"
    VLLM = "vllm"


@dataclass(frozen=True)
class SamplingOptions:
    """What a worker's settings say of sampling. `url` names a vLLM server that exists already."""

    kind: SamplerKind = SamplerKind.AUTO
    url: str | None = None
    api_key: SecretStr | None = None


def told_as(kind: SamplerKind, options: SamplingOptions) -> str:
    """Return what a run's provenance calls who samples; a named server is none of this machine's."""
    return "vllm-server" if kind is SamplerKind.VLLM and options.url is not None else kind


def choose(
    options: SamplingOptions, *, on_gpu: bool, attends_fully: bool, vllm: bool
) -> SamplerKind:
    """Return who samples. Raise `EngineUnavailable` where nobody can.

    Sampling in the process needs a model with full attention in every layer. On a CPU it is the choice
    wherever it can work, unless a server is named: it needs no second copy of the model and gives the
    same answers again. On a GPU vLLM is, if it is installed: it is faster there.
    """
    if options.kind is SamplerKind.IN_PROCESS and not attends_fully:
        raise EngineUnavailable(
            "The in-process sampler cannot be used: the model does not attend fully in each layer.",
            hint="Set FREESOLO_TRAIN_SAMPLER=vllm for the worker.",
        )
    if options.kind is SamplerKind.IN_PROCESS:
        return SamplerKind.IN_PROCESS
    fits = attends_fully and options.url is None and not (on_gpu and vllm)
    if options.kind is SamplerKind.AUTO and fits:
        return SamplerKind.IN_PROCESS
    if options.url is None and not vllm:
        raise EngineUnavailable(
            "Sampling needs vLLM here, and it is not installed beside this worker.",
            hint=f"{INSTALL_HINT} FREESOLO_TRAIN_VLLM_URL names a server that runs already.",
        )
    return SamplerKind.VLLM
