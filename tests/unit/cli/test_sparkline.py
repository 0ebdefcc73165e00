import pytest

from freesolo.cli.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 10, ""),
        ([1, 2, 3, 4, 5, 6, 7, 8], 10, "▁▂▃▄▅▆▇█"),
        ([-2, 2, 0], 10, "▁█▅"),
        ([0.3, 0.3, 0.3], 10, "▄▄▄"),
        ([5], 10, "▄"),
        ([1, 1, 5, 5, 9, 9], 3, "▁▅█"),
        (list(range(1000)), 4, "▁▃▆█"),
    ],
)
def test_a_curve_is_drawn_from_its_lowest_to_its_highest(
    values: list[float], width: int, drawn: str
) -> None:
    assert sparkline(values, width) == drawn


def test_a_terminal_without_unicode_gets_a_curve_too() -> None:
    assert sparkline([1, 2, 3], 10, ascii_only=True) == "_=#"
