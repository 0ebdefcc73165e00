"""What an environment's modules import, and which of that will be there."""

import ast

import pytest

from freesolo.package.findings import Severity
from freesolo.package.modules import (
    Import,
    Module,
    check_imports,
    foreign_imports,
    imports_of,
    reachable,
    shadowing,
)


def modules(**code: str) -> list[Module]:
    """Return modules by name, `__` standing for `/`."""
    return [Module(f"{name.replace('__', '/')}.py", ast.parse(text)) for name, text in code.items()]


def foreign(**code: str) -> list[Import]:
    """Return what is imported from elsewhere, with the modules as the whole package."""
    found = modules(**code)
    return foreign_imports(found, [module.path for module in found])


@pytest.mark.parametrize(
    "code",
    [
        "import json, os.path",
        "from freesolo.environments import RewardResult",
        "from freesolo.datasets.records import load_records",
        "from freesolo import OpenAI",
        "from freesolo import datasets",
        "from flash.envs.evaluations import EvalCase",
        "from __future__ import annotations",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None",
        "try:\n    import ujson as json\nexcept (ImportError, KeyError):\n    import json",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas",
        "import helper",
        "from helper import words",
        "from . import helper",
        "from .helper import words",
    ],
)
def test_what_is_there_is_not_foreign(code: str) -> None:
    assert foreign(environment=code, helper="words = []") == []


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        ("import numpy.linalg", Severity.ERROR),
        ("def f():\n    import numpy", Severity.WARNING),
        ("class A:\n    import numpy", Severity.ERROR),
        ("if True:\n    with open('x') as f:\n        import numpy", Severity.ERROR),
        ("match 1:\n    case 1:\n        import numpy", Severity.ERROR),
        ("try:\n    import numpy\nfinally:\n    pass", Severity.ERROR),
        ("try:\n    import numpy\nexcept KeyError:\n    pass", Severity.ERROR),
        ("def f():\n    import hub_server", Severity.ERROR),
        ("from freesolo.package import checks", Severity.ERROR),
        ("from freesolo.client.hub import HubClient", Severity.ERROR),
        ("from freesolo import load", Severity.ERROR),
        ("import fsenv_acme_tools", Severity.ERROR),
    ],
)
def test_what_nothing_brings_is_found_with_its_place(code: str, severity: Severity) -> None:
    (finding,) = check_imports(foreign(environment=code), [])

    assert (finding.code, finding.severity) == ("import_unknown", severity)
    assert finding.path == "environment.py"
    assert finding.line


def test_what_dependencies_may_bring_is_left_to_whoever_installs_them() -> None:
    imports = foreign(environment="import yaml\nimport hub_server")

    assert [finding.line for finding in check_imports(imports, None)] == [2]
    assert list(check_imports(foreign(environment="import yaml"), {"yaml"})) == []


def test_only_what_the_entry_points_come_to_is_looked_at() -> None:
    found = modules(
        environment="import used",
        evaluations="from lib import deep",
        used="",
        lib__deep="import deeper",
        lib__deeper="",
        make_data="import pandas",
    )

    assert [module.path for module in reachable(found)] == [
        "environment.py",
        "evaluations.py",
        "lib/deep.py",
        "lib/deeper.py",
        "used.py",
    ]


def test_very_deep_expressions_are_walked_around() -> None:
    (module,) = modules(environment="x = " + "+".join(["1"] * 900) + "\nimport numpy")

    assert [each.module for each in imports_of(module)] == ["numpy"]


def test_a_module_that_hides_another_is_found() -> None:
    paths = ["environment.py", "random.py", "json/__init__.py", "code/x.py", "tools/random.py"]

    assert [finding.path for finding in shadowing([*paths, "random.txt"])] == paths[1:3]
