"""Secrets in files: what is found, what is let pass, and that the secret itself is never told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from freesolo.errors import InvalidEnvironment
from freesolo.package.secrets import Secret, find_secrets, refuse_secrets, scan_files

# Put together here, so that no scanner of this repository takes them for real ones.
LETTERS = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ"
KEYS = {
    "Freesolo key": "fslo_" + LETTERS,
    "Hugging Face token": "hf_" + LETTERS + "abcdefgh",
    "API key": "sk-" + "proj-" + LETTERS,
    "Groq key": "gsk_" + 2 * LETTERS,
    "xAI key": "xai-" + 3 * LETTERS,
    "NVIDIA key": "nvapi-" + 3 * LETTERS,
    "Replicate token": "r8_" + 2 * LETTERS,
    "Google API key": "AIza" + LETTERS + "abcdefghi",
    "NPM token": "npm_" + LETTERS + "abcdefghij",
    "AWS Access Key": "AKIA" + "ABCDEFGH23456789",
    "GitHub Token": "ghp_" + LETTERS + "abcdefghij",
    "GitLab Token": "glpat-" + LETTERS,
    "Slack Token": "xoxb-" + "123-456-" + "abcdef",
    "SendGrid API Key": "SG." + LETTERS[:22] + "." + 2 * LETTERS[:21] + "a",
    "Stripe Access Key": "sk_live_" + LETTERS[:24],
    "Private Key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
}


def kinds(text: str) -> list[str]:
    return [secret.kind for secret in find_secrets("notes.txt", [text.encode()])]


@pytest.mark.parametrize(("kind", "key"), KEYS.items())
@pytest.mark.parametrize("around", ["{}", 'KEY="{}"', '{{"input": "a\\n{}\\nb"}}'])
def test_a_token_is_found_wherever_it_stands(kind: str, key: str, around: str) -> None:
    assert kinds(around.format(key)) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "a risk-averse, task-oriented mask-based-approach-to-classification",
        "https://news/sk-hynix-announces-hbm4-memory-chips-for-ai-2026",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "password = hunter2",
        "mask" + "-" + LETTERS,
        "hf_model_name = 'HuggingFaceTB/SmolLM2-135M-Instruct'",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUA",
        "postgresql://user:password@localhost/db",
    ],
)
def test_what_only_resembles_a_secret_is_let_pass(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "key = '{}'  # pragma: allowlist secret",
        '{{"input": "{}", "note": "pragma: allowlist secret"}}',
        "<!-- pragma: whitelist secret --> {}",
    ],
)
def test_a_line_that_is_marked_is_let_pass_and_only_that(line: str) -> None:
    text = line.format(KEYS["GitHub Token"])
    assert kinds(text) == []
    assert kinds(f"{text}\n{KEYS['GitHub Token']}") == ["GitHub Token"]


def test_the_line_is_told_across_blocks() -> None:
    content = (b"x" * 99 + b"\n") * 50_000 + KEYS["Freesolo key"].encode() + b"\n"
    blocks = [content[at : at + 4001] for at in range(0, len(content), 4001)]

    assert find_secrets("a", blocks) == [Secret("a", 50_001, "Freesolo key")]


def test_a_key_is_found_where_a_line_without_end_is_cut() -> None:
    key = KEYS["Freesolo key"].encode()
    blocks = [b" " * (2**20 - 2) + key[:10], key[10:] + b" " * 100]

    assert find_secrets("a", blocks) == [Secret("a", 1, "Freesolo key")]


def test_every_block_is_taken_though_the_file_is_full_of_secrets() -> None:
    line = KEYS["Freesolo key"].encode() + b"\n"
    blocks = iter([line * 500, b"rest"])

    assert len(find_secrets("a", blocks)) == 100
    assert next(blocks, None) is None


@pytest.mark.parametrize("mark", ["sk-", "glpat-", "AKIA", "xoxb-1-", "aws_secret ", "fslo_"])
def test_a_file_made_of_marks_costs_no_more_than_others(mark: str) -> None:
    """A scan that were quadratic would take minutes here."""
    content = mark.encode() * (2**21 // len(mark))
    find_secrets("a", [content])


def test_a_refusal_names_places_and_kinds_but_no_secret(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"\nKEY = '{KEYS['API key']}'\n")
    (tmp_path / "b.env").write_text(KEYS["Slack Token"])

    with pytest.raises(InvalidEnvironment) as refusal:
        refuse_secrets(list(scan_files(tmp_path, ["a.py", "b.env"])))

    error = refusal.value
    assert error.message == "a.py, line 2, holds what looks like a secret (API key)."
    assert [(problem.path, problem.code) for problem in error.problems] == [
        ("a.py:2", "secret_found"),
        ("b.env:1", "secret_found"),
    ]
    assert not any(key in str(error.to_wire()) for key in KEYS.values())
    assert "pragma: allowlist secret" in (error.hint or "")


def test_nothing_is_refused_where_nothing_was_found() -> None:
    refuse_secrets([])


def test_a_scan_takes_any_iterable_of_blocks() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"a\n"
        yield KEYS["NPM token"].encode()

    assert [secret.line for secret in find_secrets("a", blocks())] == [2]
