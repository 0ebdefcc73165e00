"""What the hub counts, as Prometheus reads it. No name of an org, an environment or a key is in it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from hub_server.models import DeliveryState, FeedHead, WebhookDelivery

# From an answer out of memory to an upload over a slow line, in seconds.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PUBLISHING = frozenset(
    {
        ("PUT", "/v1/envs/{org}/{name}/versions/{version}"),
        ("POST", "/v1/uploads/{upload_id}/finalize"),
    }
)
_DOWNLOADS = {
    "/v1/envs/{org}/{name}/versions/{version}/archive": "archive",
    "/v1/envs/{org}/{name}/versions/{version}/files/{path:path}": "file",
    "/simple-env/{org}/{name}/files/{filename}": "wheel",
}
_CREATED = 201
_SENT = frozenset({200, 206, 302})


class Metrics:
    """One hub process's counters, and what is looked up when they are read."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "freesolo_http_requests", "Requests answered.", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "freesolo_http_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._bytes = Counter(
            "freesolo_http_bytes", "Bytes of bodies.", ("direction",), registry=self._registry
        )
        self._publishes = Counter(
            "freesolo_publishes", "Versions published.", registry=self._registry
        )
        self._downloads = Counter(
            "freesolo_downloads", "Downloads begun.", ("kind",), registry=self._registry
        )
        self._lost = Counter(
            "freesolo_lost_requests",
            "Requests to gateways of which nobody knows what they took.",
            registry=self._registry,
        )
        self._connections = Gauge(
            "freesolo_database_connections",
            "Connections to the database, by state.",
            ("state",),
            registry=self._registry,
        )
        self._serial = Gauge(
            "freesolo_feed_serial", "Number of the last change.", registry=self._registry
        )
        self._deliveries = Gauge(
            "freesolo_webhook_deliveries_waiting",
            "Deliveries that webhooks still have to get.",
            registry=self._registry,
        )

    def count(self, method: str, route: str, status: int, *, seconds: float) -> None:
        """Count an answer; `route` is the template that fitted, '' for none."""
        # Whoever sends requests chooses the method's name, and must not choose our labels.
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status == _CREATED and (method, route) in _PUBLISHING:
            self._publishes.inc()
        if status in _SENT and (kind := _DOWNLOADS.get(route)):
            self._downloads.labels(kind).inc()

    def count_bytes(self, *, received: int, sent: int) -> None:
        """Count what a request and its answer carried."""
        self._bytes.labels("in").inc(received)
        self._bytes.labels("out").inc(sent)

    def count_lost(self, requests: int) -> None:
        """Count requests to gateways of which nobody knows what they took."""
        self._lost.inc(requests)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format; without a database, what is known."""
        try:
            with self._sessions() as session:
                self._look(session)
        except DBAPIError:
            self._serial.set(float("nan"))
            self._deliveries.set(float("nan"))
        return generate_latest(self._registry)

    def _look(self, session: Session) -> None:
        pool = session.get_bind().engine.pool
        if isinstance(pool, QueuePool):
            self._connections.labels("in use").set(pool.checkedout())
            self._connections.labels("idle").set(pool.checkedin())
        self._serial.set(session.scalar(select(FeedHead.serial)) or 0)
        waiting = WebhookDelivery.state == DeliveryState.WAITING
        self._deliveries.set(session.scalar(select(func.count()).where(waiting)) or 0)
