"""Which sampler a run gets."""

import pytest

from freesolo.errors import EngineUnavailable
from training_backend.sampling.choice import SamplerKind, SamplingOptions, choose

AUTO, IN_PROCESS, VLLM = SamplerKind
NAMED = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("kind", "url", "on_gpu", "attends_fully", "chosen"),
    [
        (AUTO, None, False, True, IN_PROCESS),
        (AUTO, None, False, False, VLLM),
        (AUTO, None, True, True, VLLM),
        (AUTO, NAMED, False, True, VLLM),
        (IN_PROCESS, None, False, True, IN_PROCESS),
        (IN_PROCESS, None, True, True, IN_PROCESS),
        (VLLM, None, False, True, VLLM),
    ],
)
def test_the_sampler_fits_the_machine_and_the_model(
    kind: SamplerKind, url: str | None, on_gpu: bool, attends_fully: bool, chosen: SamplerKind
) -> None:
    options = SamplingOptions(kind, url)
    assert choose(options, on_gpu=on_gpu, attends_fully=attends_fully, vllm=True) is chosen


@pytest.mark.parametrize("on_gpu", [True, False])
def test_in_process_sampling_that_cannot_work_says_the_way_out(on_gpu: bool) -> None:
    options = SamplingOptions(IN_PROCESS)
    with pytest.raises(EngineUnavailable) as caught:
        choose(options, on_gpu=on_gpu, attends_fully=False, vllm=True)
    assert "FREESOLO_TRAIN_SAMPLER=vllm" in str(caught.value.hint)


def test_without_vllm_a_gpu_run_is_sampled_in_the_process() -> None:
    found = choose(SamplingOptions(), on_gpu=True, attends_fully=True, vllm=False)
    assert found is IN_PROCESS


@pytest.mark.parametrize("on_gpu", [True, False])
@pytest.mark.parametrize(("kind", "attends_fully"), [(VLLM, True), (AUTO, False)])
def test_where_only_vllm_can_sample_a_run_says_what_to_install(
    kind: SamplerKind, attends_fully: bool, on_gpu: bool
) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        choose(SamplingOptions(kind), on_gpu=on_gpu, attends_fully=attends_fully, vllm=False)
    assert "serve-gpu" in str(caught.value.hint)


def test_a_named_server_needs_no_vllm_here() -> None:
    options = SamplingOptions(url=NAMED)
    assert choose(options, on_gpu=True, attends_fully=True, vllm=False) is VLLM
