"""The error tree across the wire."""

import pytest

from freesolo.errors import (
    FreesoloError,
    Internal,
    InvalidInput,
    NotFound,
    Problem,
    Unavailable,
    all_errors,
    from_wire,
)


@pytest.mark.parametrize("error_class", list(all_errors()))
def test_every_error_comes_back_as_it_was_raised(error_class: type[FreesoloError]) -> None:
    sent = error_class(
        "What happened.",
        hint="What to do.",
        problems=[Problem("train.epochs", "Too many.", "value")],
        retry_after=2.5,
        traceback="line 1",
    )
    back = from_wire(sent.to_wire(), error_class.http_status)
    assert type(back) is error_class
    assert vars(back) == vars(sent)


def test_codes_are_unique() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (404, NotFound),
        (422, InvalidInput),
        (500, Internal),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
def test_an_unknown_code_becomes_the_class_of_its_status(
    status: int, error_class: type[FreesoloError]
) -> None:
    newer = {"error": {"code": "something_newer", "message": "x"}}
    assert type(from_wire(newer, status)) is error_class


@pytest.mark.parametrize(
    "body", [{}, {"detail": "Not Found"}, {"error": "text"}, {"error": {"problems": 3}}]
)
def test_a_body_that_is_no_envelope_still_becomes_an_error(body: dict[str, object]) -> None:
    assert isinstance(from_wire(body, 404), NotFound)
