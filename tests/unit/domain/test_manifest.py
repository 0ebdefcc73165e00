"""environment.toml: defaults, and every mistake named."""

import pytest

from freesolo.domain.manifest import parse_manifest
from freesolo.errors import InvalidManifest


def manifest(lines: str) -> str:
    return f'[environment]\nname = "math"\n{lines}\n'


def test_a_name_is_enough() -> None:
    parsed = parse_manifest(manifest(""))
    assert (parsed.name, parsed.version, parsed.network) == ("math", "0.1.0", False)


def test_versions_are_written_in_their_normal_form() -> None:
    assert parse_manifest(manifest('version = "1.0-RC1"')).version == "1.0rc1"


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ('version = "one"', "version"),
        ('dependencies = ["not a requirement !"]', "dependencies.0"),
        ('requires-python = "three"', "requires-python"),
        ('environments = ["nonsense"]', "environments.0"),
        ('environments = ["acme/tools@stable"]', "environments.0"),
        ('secrets = ["lower"]', "secrets.0"),
        ('api = "freesolo/9"', "api"),
        ("network = 3", "network"),
        ('dependencies = ["tool @ git+https://example.com/tool"]', "dependencies.0"),
        ('dependencies = ["tool @ https://example.com/tool-1-py3-none-any.whl"]', "dependencies.0"),
        (r'summary = "a\u0000b"', "summary"),
        ('tags = [""]', "tags.0"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(lines: str, path: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        parse_manifest(manifest(lines))
    assert refusal.value.problems[0].path == path


def test_a_wheel_at_an_address_is_a_dependency_with_its_digest() -> None:
    wheel = f"tool @ https://example.com/tool-1-py3-none-any.whl#sha256={'0' * 64}"
    assert parse_manifest(manifest(f'dependencies = ["{wheel}"]')).dependencies == (wheel,)


@pytest.mark.parametrize(
    ("written", "ref"),
    [
        ("acme/tools>=1,<2", "acme/tools@<2,>=1"),
        ("acme/tools >= 1", "acme/tools@>=1"),
        ("acme/tools==1.2", "acme/tools@==1.2"),
        ("acme/tools@1.2", "acme/tools@1.2"),
        ("acme/tools", "acme/tools"),
    ],
)
def test_what_an_environment_builds_on_is_a_reference_with_a_range(written: str, ref: str) -> None:
    assert parse_manifest(manifest(f'environments = ["{written}"]')).environments == (ref,)


def test_a_variable_of_the_platform_is_no_secret_of_an_environment() -> None:
    with pytest.raises(InvalidManifest, match=r"FREESOLO_API_KEY.*is a variable of the platform"):
        parse_manifest(manifest('secrets = ["JUDGE_API_KEY", "FREESOLO_API_KEY"]'))


@pytest.mark.parametrize("lines", ['secrets = ["sk-12"]', 'secrets = "sk-12"'])
def test_a_value_where_the_name_of_a_secret_belongs_is_not_repeated(lines: str) -> None:
    with pytest.raises(InvalidManifest, match="secrets") as refusal:
        parse_manifest(manifest(lines))
    assert "sk-12" not in str(refusal.value.to_wire())


def test_a_mistyped_key_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(InvalidManifest, match="dependencies"):
        parse_manifest(manifest("dependecies = []"))


@pytest.mark.parametrize(
    "text", ["", "[environment", "name = 'x'", "[environment]\n[other]\nx = 1"]
)
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InvalidManifest):
        parse_manifest(text)
