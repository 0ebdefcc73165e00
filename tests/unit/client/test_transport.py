"""What the transport repeats, and when."""

from pathlib import Path

import httpx
import pytest

from freesolo.client.transport import Transport, repeating
from freesolo.errors import FreesoloError, LimitExceeded, Unavailable


def transport_that_meets(*errors: FreesoloError) -> tuple[Transport, list[str]]:
    """Return a transport to a service that fails in these ways before it answers, and its calls."""
    left = list(errors)
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if not left:
            return httpx.Response(200, json={})
        error = left.pop(0)
        return httpx.Response(error.http_status, json=error.to_wire())

    http = httpx.Client(transport=httpx.MockTransport(answer))
    return Transport("http://127.0.0.1:1", None, http=http), calls


def test_who_is_told_to_wait_waits_and_comes_back() -> None:
    transport, calls = transport_that_meets(LimitExceeded("Too many.", retry_after=0.01))
    assert transport.request("GET", "/").status_code == 200
    assert len(calls) == 2


def test_a_wait_that_is_too_long_is_left_to_the_caller() -> None:
    transport, calls = transport_that_meets(LimitExceeded("Too many.", retry_after=3600))
    with pytest.raises(LimitExceeded):
        transport.request("GET", "/")
    assert len(calls) == 1


def test_a_limit_that_waiting_does_not_lift_is_not_tried_again() -> None:
    transport, calls = transport_that_meets(LimitExceeded("Too large."))
    with pytest.raises(LimitExceeded):
        transport.request("GET", "/")
    assert len(calls) == 1


def test_what_may_have_been_done_is_not_repeated() -> None:
    transport, calls = transport_that_meets(Unavailable("Away.", retry_after=0.01))
    with pytest.raises(Unavailable):
        transport.request("POST", "/")
    assert len(calls) == 1


def test_a_download_begins_anew(tmp_path: Path) -> None:
    transport, calls = transport_that_meets(LimitExceeded("Too many.", retry_after=0.01))
    transport.download("/", tmp_path / "file")
    assert len(calls) == 2
    assert (tmp_path / "file").read_text() == "{}"


@pytest.mark.parametrize(("within", "times"), [(0.0, 1), (60.0, 2)])
def test_what_took_too_long_to_fail_is_not_called_again(within: float, times: int) -> None:
    calls: list[None] = []

    def fail() -> None:
        calls.append(None)
        raise Unavailable("It hung.")

    with pytest.raises(Unavailable):
        repeating(2, within=within)(fail)
    assert len(calls) == times
