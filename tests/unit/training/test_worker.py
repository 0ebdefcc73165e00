import pytest

from training_backend.worker import cause_of_death


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (-9, "was killed (SIGKILL), as the system does when memory runs out"),
        (-11, "was ended by SIGSEGV"),
        (1, "ended with exit code 1 without reporting an outcome"),
    ],
)
def test_an_exit_code_is_put_into_words(exit_code: int, words: str) -> None:
    assert cause_of_death(exit_code) == words
