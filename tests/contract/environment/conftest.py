import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def restored_imports() -> Iterator[None]:
    """Forget what a test has put on the path and among the modules."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
