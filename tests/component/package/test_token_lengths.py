"""Tokens are counted with a base model's own files, and compared with what a config allows."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from freesolo.base_models.store import present
from freesolo.datasets.types import Message
from freesolo.domain.catalog import SMOLLM2_135M, BaseModelEntry, LocalSource
from freesolo.package.checks import Finding, Report, Severity, check_folder
from freesolo.package.prompts import BaseModel, FindModel
from freesolo.package.token_lengths import counter_for
from freesolo.runtime.client import HostOptions
from tests.environment_folders import SOUND, write_environment

TEMPLATE = "{{ bos_token }} {% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}"
CONFIG = """
model = "org/words"
algorithm = "sft"
[environment]
id = "local/example"
[train]
max_context_tokens = {limit}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a tokenizer for which each word is a token, and its chat template."""
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "bos_token": {"content": "<s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text("{}")
    return folder


def entry_of(folder: Path) -> BaseModelEntry:
    source = LocalSource(path=str(folder))
    return SMOLLM2_135M.model_copy(update={"id": "org/words", "source": source})


def conversation(*texts: object) -> list[Message]:
    return [{"role": "user", "content": text} for text in texts]


def test_a_models_own_tokenizer_and_template_are_counted_with(model: Path) -> None:
    counter = counter_for(model)
    parts = [{"type": "text", "text": "one two"}, {"type": "image"}]

    assert counter.exact
    assert counter.count([conversation("one"), conversation("one two", "three")]) == [4, 8]
    assert counter.count([conversation(parts), []]) == [5, 1]


def test_a_template_in_a_file_of_its_own_is_read(model: Path) -> None:
    (model / "chat_template.jinja").write_text("a b c")

    assert counter_for(model).count([conversation("one")]) == [3]


def test_what_a_template_refuses_is_counted_as_it_is(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ raise_exception('no') }}")

    assert counter_for(model).count([conversation("one two", "three")]) == [3]


def test_without_a_model_tokens_are_estimated(tmp_path: Path) -> None:
    counter = counter_for(tmp_path)

    assert not counter.exact
    assert counter.count([conversation("four", "12345678"), []]) == [15, 0]


def test_a_base_model_is_found_only_where_it_is_ready(model: Path, tmp_path: Path) -> None:
    assert present(entry_of(model), tmp_path) == model
    assert present(entry_of(tmp_path / "nowhere"), tmp_path) is None
    assert present(SMOLLM2_135M, tmp_path) is None


Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path, options: HostOptions) -> Check:
    """Check an environment of rows with 9 tokens each, with a config that allows `limit`."""

    def check_limit(limit: int, find_model: FindModel) -> Report:
        folder = write_environment(tmp_path / "environment", SOUND)
        (folder / "configs").mkdir(exist_ok=True)
        (folder / "configs/sft.toml").write_text(CONFIG.format(limit=limit))
        return check_folder(folder, options, find_model=find_model)

    return check_limit


def about_tokens(report: Report) -> list[Finding]:
    codes = ("rows_too_long", "model_unknown")
    return [finding for finding in report.findings if finding.code in codes]


def test_rows_that_fit_are_only_measured(check: Check, model: Path) -> None:
    report = check(9, lambda _: BaseModel(entry_of(model), model))

    (lengths,) = report.uses[0].lengths
    assert about_tokens(report) == []
    assert (lengths.median, lengths.longest, lengths.limit, lengths.exact) == (9, 9, 9, True)


def test_rows_of_which_none_fits_are_an_error(check: Check, model: Path) -> None:
    (finding,) = about_tokens(check(7, lambda _: BaseModel(entry_of(model), model)))

    assert (finding.severity, finding.rows) == (Severity.ERROR, tuple(range(8)))


def test_an_estimate_is_information_only(check: Check, model: Path) -> None:
    report = check(7, lambda _: BaseModel(entry_of(model)))

    assert report.ok
    assert about_tokens(report)[0].severity is Severity.INFO


def test_a_model_that_is_not_known_is_mentioned(check: Check) -> None:
    (finding,) = about_tokens(check(7, lambda _: None))

    assert (finding.code, finding.severity) == ("model_unknown", Severity.INFO)
