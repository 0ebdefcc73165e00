"""What an environment's code says of itself, without being run."""

import ast

import pytest

from freesolo.domain.manifest import Manifest
from freesolo.package.code_checks import (
    check_factories,
    check_hooks,
    check_params,
    check_reach,
    code_facts,
)
from freesolo.package.modules import Module

PLAIN = Manifest(name="example")


def module(code: str, path: str = "environment.py") -> Module:
    return Module(path, ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "def load_environment(): ...",
        "load_environment = print",
        "from helper import load_environment",
        "from helper import make as load_environment",
        "from helper import *",
        "class load_environment: ...",
        "if True:\n    def load_environment(): ...",
        "raise SystemExit",
    ],
)
def test_an_entry_point_may_come_about_in_many_ways(code: str) -> None:
    assert list(check_factories([module(code)])) == []


@pytest.mark.parametrize("code", ["", "def load(): ...", "async def load_environment(): ..."])
def test_an_entry_point_without_its_function_is_found(code: str) -> None:
    (finding,) = check_factories([module(code)])

    assert finding.code == "entry_point_invalid"


def test_evaluations_have_a_function_of_their_own() -> None:
    (finding,) = check_factories([module("", "evaluations.py")])

    assert "load_evaluations" in finding.message


@pytest.mark.parametrize(
    ("signature", "params", "codes"),
    [
        ("", {}, []),
        ("split", {"split": 1}, []),
        ("split", {}, ["param_missing"]),
        ("split='a'", {"splt": 1}, ["param_ignored"]),
        ("split", {"splt": 1}, ["param_ignored", "param_missing"]),
        ("*, split", {}, ["param_missing"]),
        ("*, split='a'", {}, []),
        ("**params", {"anything": 1}, []),
        ("a, b=1, *rest, c, d=2, **more", {"a": 1, "c": 2, "x": 3}, []),
        ("a, /, b=1", {"b": 2}, ["param_missing"]),
    ],
)
def test_the_parameters_of_a_config_are_compared(
    signature: str, params: dict[str, int], codes: list[str]
) -> None:
    taken = code_facts([module(f"def load_environment({signature}): ...")]).parameters

    assert taken
    assert [finding.code for finding in check_params(taken, dict(params), "c.toml")] == codes


def test_classes_that_are_environments_are_named() -> None:
    code = "class A(base.EnvironmentMultiTurn): ...\nclass B(A): ...\nclass C: ..."

    (found,) = code_facts([module(code)]).classes

    assert (found.name, found.base, found.line) == ("A", "EnvironmentMultiTurn", 1)


def test_async_methods_of_environments_are_found() -> None:
    code = """
class A(EnvironmentSingleTurn):
    async def score_response(self, example, text): ...
    def build(self):
        async def inner(): ...
class Client:
    async def get(self): ...
"""
    assert [finding.line for finding in check_hooks([module(code)])] == [3]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('os.environ["JUDGE_KEY"]', ["warning"]),
        ('os.environ.get("JUDGE_KEY")', ["warning"]),
        ('os.getenv("JUDGE_KEY", "")', ["warning"]),
        ('environ["JUDGE_KEY"]', ["warning"]),
        ('os.environ.get("VERBOSE")', ["info"]),
        ('os.environ["DECLARED_KEY"]', []),
        ('os.environ["HOME"]', []),
        ('os.environ["JUDGE_KEY"] = "x"', []),
        ("os.environ[name]", []),
        ('settings.get("JUDGE_KEY")', []),
    ],
)
def test_variables_that_are_read_without_being_declared_are_found(
    code: str, found: list[str]
) -> None:
    findings = check_reach([module(code)], PLAIN, ["DECLARED_KEY"])

    assert [finding.severity for finding in findings] == found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("import requests", 1),
        ("from urllib import request", 1),
        ("import http.client", 1),
        ("from freesolo import OpenAI", 1),
        ("from urllib.parse import urlparse", 0),
        ("import urllib", 0),
        ("try:\n    import httpx\nexcept ImportError:\n    httpx = None", 0),
    ],
)
def test_modules_for_the_network_are_found_where_it_is_not_declared(code: str, count: int) -> None:
    online = Manifest(name="example", network=True)

    assert len(list(check_reach([module(code)], PLAIN, []))) == count
    assert list(check_reach([module(code)], online, [])) == []


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('open("/home/ada/a.txt")', 1),
        ('Path("~/a.txt").read_text()', 1),
        (r'load_dataset("C:\\data\\a.csv")', 1),
        ('pathlib.Path("/data/a.txt")', 1),
        ('open("/tmp/a.txt")', 0),
        ('open("dataset/a.txt")', 0),
        ('print("/home/ada")', 0),
        ("open(path)", 0),
    ],
)
def test_files_by_absolute_paths_are_found(code: str, count: int) -> None:
    assert len(list(check_reach([module(code)], PLAIN, []))) == count
