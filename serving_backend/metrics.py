"""What the gateway counts, as Prometheus reads it. No org, key, adapter or word of a prompt is in it."""

from collections import Counter as Sums
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving_backend.reconciliation import Tokens

# From an answer of a fast engine to one that waited for a slow one, in seconds.
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_NEXT_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_TOKENS = {"prompt_tokens": "prompt", "cached_tokens": "cached", "completion_tokens": "completion"}


class Watched(Protocol):
    """An engine, as far as it is counted."""

    model: str
    starts: int
    deaths: int

    @property
    def resident(self) -> int:
        """How many adapters it has loaded."""


class Metrics:
    """One gateway's counters, and what is looked up when they are read.

    `model` is always the base model's id; it is empty for requests that named none.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "freesolo_serve_requests",
            "Requests answered, by the status that was sent.",
            ("path", "model", "status"),
            registry=self._registry,
        )
        self._prompts = Counter(
            "freesolo_serve_prompts",
            "Prompts settled, by what the ledger says of them.",
            ("model", "outcome"),
            registry=self._registry,
        )
        self._tokens = Counter(
            "freesolo_serve_tokens",
            "Tokens counted; cached ones are among those of prompts.",
            ("model", "kind"),
            registry=self._registry,
        )
        self._first_token = Histogram(
            "freesolo_serve_first_token_seconds",
            "Seconds from the admission of a streamed request to its first piece.",
            ("model",),
            buckets=_FIRST_TOKEN,
            registry=self._registry,
        )
        self._next_token = Histogram(
            "freesolo_serve_next_token_seconds",
            "Seconds between the pieces of a stream.",
            ("model",),
            buckets=_NEXT_TOKEN,
            registry=self._registry,
        )

    def watch(
        self,
        engines: Callable[[], Iterable[Watched]],
        *,
        in_flight: Callable[[], int],
        unaccounted: Callable[[], Mapping[str, Tokens]],
    ) -> None:
        """Look at engines, how much is on its way, and the ledger, whenever the page is read."""
        self._registry.register(_Looking(engines, in_flight, unaccounted))

    def count_answer(self, path: str, model: str, status: int) -> None:
        """Count a request that was answered with a status."""
        self._requests.labels(path, model, str(status)).inc()

    def count_prompt(self, model: str, outcome: str, counts: Mapping[str, int]) -> None:
        """Count a prompt and its tokens, as they go into the ledger."""
        self._prompts.labels(model, outcome).inc()
        for name, kind in _TOKENS.items():
            self._tokens.labels(model, kind).inc(counts.get(name, 0))

    def note_first_token(self, model: str, seconds: float) -> None:
        """Note how long a stream's first piece took."""
        self._first_token.labels(model).observe(seconds)

    def note_next_token(self, model: str, seconds: float) -> None:
        """Note how long a later piece took."""
        self._next_token.labels(model).observe(seconds)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


@dataclass(eq=False)
class _Looking(Collector):
    engines: Callable[[], Iterable[Watched]]
    in_flight: Callable[[], int]
    unaccounted: Callable[[], Mapping[str, Tokens]]

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "freesolo_serve_in_flight", "Prompts on their way.", value=self.in_flight()
        )
        # Orgs may call different models alike.
        starts, deaths, resident = Sums[str](), Sums[str](), Sums[str]()
        for engine in self.engines():
            starts[engine.model] += engine.starts
            deaths[engine.model] += engine.deaths
            resident[engine.model] += engine.resident
        yield from (
            _family(CounterMetricFamily, "engine_starts", "Engines that became ready.", starts),
            _family(
                CounterMetricFamily, "engine_deaths", "Engines that ended by themselves.", deaths
            ),
            _family(
                GaugeMetricFamily, "resident_adapters", "Adapters that engines hold.", resident
            ),
        )
        unaccounted = GaugeMetricFamily(
            "freesolo_serve_unaccounted_tokens",
            "Tokens that a resting engine has counted and the ledger has not.",
            labels=["model", "kind"],
        )
        for model, tokens in self.unaccounted().items():
            unaccounted.add_metric([model, "prompt"], tokens.prompt)
            unaccounted.add_metric([model, "completion"], tokens.completion)
        yield unaccounted


def _family(
    kind: type[CounterMetricFamily | GaugeMetricFamily], name: str, what: str, sums: Sums[str]
) -> Metric:
    family = kind(f"freesolo_serve_{name}", what, labels=["model"])
    for model, value in sums.items():
        family.add_metric([model], value)
    return family
