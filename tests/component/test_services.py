"""How each service answers settings that it cannot start with."""

import subprocess
import sys

import pytest

SECRET = "fslo_not-to-be-shown"
SERVICES = {
    "FREESOLO_SERVER_": ("hub_server", "migrate"),
    "FREESOLO_TRAIN_": ("training_backend", "worker"),
    "FREESOLO_SERVE_": ("serving_backend", "serve"),
}


def refusal(prefix: str, settings: dict[str, str]) -> str:
    """Start a service that must end at once; return what it said."""
    result = subprocess.run(
        [sys.executable, "-m", *SERVICES[prefix]],
        env={prefix + name: value for name, value in settings.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert SECRET not in result.stderr
    return result.stderr


@pytest.mark.parametrize("prefix", SERVICES)
def test_a_log_level_that_does_not_exist_is_named_with_those_that_do(prefix: str) -> None:
    said = refusal(prefix, {"LOG_LEVEL": "LOUD", "API_KEY": SECRET})

    assert f"{prefix}LOG_LEVEL: " in said
    assert "'WARNING'" in said
    assert "'LOUD'" in said


@pytest.mark.parametrize("prefix", ["FREESOLO_TRAIN_", "FREESOLO_SERVE_"])
@pytest.mark.parametrize("settings", [{}, {"API_KEY": ""}])
def test_a_missing_key_is_named(prefix: str, settings: dict[str, str]) -> None:
    assert f"{prefix}API_KEY: Required, but missing." in refusal(prefix, settings)


@pytest.mark.parametrize("prefix", ["FREESOLO_SERVER_", "FREESOLO_SERVE_"])
@pytest.mark.parametrize("port", ["abc", "70000"])
def test_a_port_that_is_none_is_named(prefix: str, port: str) -> None:
    said = refusal(prefix, {"PORT": port, "API_KEY": SECRET})

    assert f"{prefix}PORT: " in said
    assert port in said
