"""What tests need that no Python package brings."""

import os
import shutil
from typing import NoReturn

import pytest


def require_package(package: str) -> NoReturn:
    """End a test that needs a missing package of the system.

    It is a failure where `make setup` installs the package, so that no test is lost unnoticed.
    """
    if os.geteuid() == 0 and shutil.which("apt-get"):
        pytest.fail(f"The system package `{package}` is missing: run `make setup`.", pytrace=False)
    pytest.skip(f"The system package `{package}` is missing, and takes a password to install.")
