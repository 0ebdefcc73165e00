"""Whether a cluster that did not start a job ever could."""

import re

import pytest

from training_backend.executors.ray import Resources, what_no_node_has

SMALL: Resources = {"CPU": 4.0, "memory": 8e9}
LARGE: Resources = {"CPU": 8.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("wanted", "nodes"),
    [
        ({"CPU": 4, "GPU": 0}, [SMALL]),
        ({"CPU": 4, "GPU": 1}, [SMALL, LARGE]),
    ],
)
def test_what_one_empty_node_has_is_no_lack(wanted: Resources, nodes: list[Resources]) -> None:
    assert what_no_node_has(wanted, nodes) is None


@pytest.mark.parametrize(
    ("wanted", "nodes", "words"),
    [
        # Together they have it, but a job is on one.
        ({"CPU": 12, "GPU": 1}, [SMALL, LARGE], "has 12 CPU and 1 GPU, .* has 8 CPU and 1 GPU"),
        ({"CPU": 2, "GPU": 1}, [SMALL], "the largest has 4 CPU and 0 GPU"),
        ({"CPU": 2, "GPU": 0}, [], "the largest has 0 CPU and 0 GPU"),
    ],
)
def test_what_no_node_has_is_named(wanted: Resources, nodes: list[Resources], words: str) -> None:
    lack = what_no_node_has(wanted, nodes)
    assert lack is not None
    assert re.search(words, lack)
