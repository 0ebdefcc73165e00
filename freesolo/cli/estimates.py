"""What a run would take, in words and figures."""

from collections.abc import Iterator
from dataclasses import asdict

from freesolo.cli.output import Output
from freesolo.cli.run_view import duration
from freesolo.domain.estimates import Estimate, gigabytes, way_out
from freesolo.domain.throughput import Span

_PICO = 1e-12


def show_estimate(out: Output, found: Estimate) -> None:
    """Print an estimate in full."""
    out.fields(dict(_totals(found)))
    out.data()
    out.table(("phase", "expected", "range"), list(_phases(found)))
    out.data()
    out.table(("memory", "size"), list(_memory(found)))
    for assumption in found.assumptions:
        out.talk(f"Note: {assumption}")
    tell_misfit(out, found)


def tell_misfit(out: Output, found: Estimate) -> None:
    """Say that a run does not fit, and what to lower, if that is known."""
    if found.fits is False:
        out.talk(f"It does not fit. {way_out(found.knobs)}")


def summary(found: Estimate) -> str:
    """Return an estimate in one line."""
    time = (
        f"about {duration(found.seconds.total.expected)} on {found.device}"
        if found.seconds
        else f"time on {found.device} unknown"
    )
    memory = f", {gigabytes(found.peak_memory)}" if found.peak_memory else ""
    return f"{found.steps} steps, {time}{memory}, {dollars(found.price.total)}"


def dollars(pico: int) -> str:
    """Write pico-dollars as dollars."""
    amount = pico * _PICO
    if 0 < amount < 0.0001:
        return "less than $0.0001"
    return f"${amount:,.4f}" if amount < 1 else f"${amount:,.2f}"


def _totals(found: Estimate) -> Iterator[tuple[str, object]]:
    yield "device", found.device
    yield "steps", f"{found.steps:,} over {found.examples:,} examples"
    for kind, count in asdict(found.tokens).items():
        if count:
            yield f"{kind} tokens", f"{count:,}"
    most = f", at most {dollars(found.price.most)}" if found.price.most > found.price.total else ""
    yield "price", f"{dollars(found.price.total)}{most}"
    if found.device_hours is not None:
        hours = found.device_hours
        yield "device hours", f"{hours.expected:.2f} ({hours.low:.2f} to {hours.high:.2f})"
    yield "pace", found.source


def _phases(found: Estimate) -> Iterator[tuple[str, str, str]]:
    if found.seconds is None:
        yield "total", "unknown", ""
        return
    phases = {
        "start-up": found.seconds.start_up,
        "rollouts": found.seconds.rollouts,
        "scoring": found.seconds.scoring,
        "update": found.seconds.update,
        "total": found.seconds.total,
    }
    for name, span in phases.items():
        if span.high > 0:
            yield name, duration(span.expected), _range(span)


def _range(span: Span) -> str:
    return f"{duration(span.low)} to {duration(span.high)}"


def _memory(found: Estimate) -> Iterator[tuple[str, str]]:
    if found.memory is None:
        yield "peak", "unknown: the catalog does not tell the model's shape"
        return
    for part, size in asdict(found.memory).items():
        if size:
            yield part, gigabytes(size)
    yield "peak", gigabytes(found.memory.total)
    if found.device_memory is not None:
        yield found.device, gigabytes(found.device_memory)
