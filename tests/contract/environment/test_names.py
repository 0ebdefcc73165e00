import importlib
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from freesolo import environments
from freesolo.datasets.types import Message
from freesolo.runtime.venvs import ensure_contract
from tests.contract.environment.clauses import clause
from tests.contract.environment.test_environments import EXAMPLE, Echo

MODULES = {
    "freesolo.environments": (
        "Environment EnvironmentSingleTurn EnvironmentMultiTurn EnvironmentEpisode "
        "EnvironmentStepResult EnvironmentTurn RewardMetric RewardResult EvalSuite "
        "EnvironmentEvalSuite load_environment load_evaluation_suites has_evaluations"
    ),
    "freesolo.environments.base": "Environment EnvironmentSingleTurn EnvironmentMultiTurn",
    "freesolo.environments.types": (
        "EnvironmentEpisode EnvironmentStepResult EnvironmentTurn RewardMetric RewardResult"
    ),
    "freesolo.environments.evaluations": "EvalSuite EnvironmentEvalSuite",
    "freesolo.datasets": (
        "Dataset PromptBuilder TaskExample load_dataset stable_example_id target_messages "
        "warn_missing_think_tags"
    ),
    "freesolo.datasets.records": (
        "load_task_examples load_records task_example_from_record task_example_from_source_item "
        "normalize_record infer_output"
    ),
    "freesolo.contracts": (
        "load_contract_text load_contract_spec extract_contract_spec build_oracle_messages "
        "ChatContent ChatContentPart ChatMessage ContractMessageSpec ContractMethod ContractScale "
        "ContractSpec PromptConfig RewardFunctionSpec"
    ),
    "freesolo.openai_client": "OpenAI AsyncOpenAI FreesoloConfig",
}
FLASH = ("flash.envs.evaluations", "flash.envs.meta.evaluations")


@clause("C1.1", "C1.3", "C1.4")
@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_where_authors_import_it_from(module: str) -> None:
    offered = vars(importlib.import_module(module))

    assert [name for name in MODULES[module].split() if name not in offered] == []


@clause("C1.2")
@pytest.mark.parametrize("module", ["base", "types", "evaluations"])
def test_a_class_is_one_object_and_defined_where_it_says(module: str) -> None:
    place = f"freesolo.environments.{module}"

    for name in MODULES[place].split():
        there = getattr(importlib.import_module(place), name)
        assert there is getattr(environments, name)
        assert there.__module__ == place


def run_beside_the_contract(tmp_path: Path, code: str) -> str:
    """Run code as a host does, but without any installed package, and return what it prints."""
    contract = ensure_contract(tmp_path)
    script = f"import sys; sys.path.insert(0, {str(contract)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@clause("C1.6")
def test_a_host_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    modules = [module for module in MODULES if module != "freesolo.openai_client"]
    imports = "\n".join(f"import {module}" for module in (*modules, *FLASH))

    assert run_beside_the_contract(tmp_path, f"{imports}\nprint('all there')") == "all there"


@clause("C1.6")
@pytest.mark.parametrize("module", ["freesolo.client.hub", "freesolo.config", "pydantic"])
def test_a_host_offers_nothing_else_of_the_platform(tmp_path: Path, module: str) -> None:
    code = f"import freesolo\ntry: import {module}\nexcept ImportError: print('not there')"

    assert run_beside_the_contract(tmp_path, code) == "not there"


@clause("C1.6", "C9.5")
def test_our_own_distribution_installs_no_package_flash() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash")


MESSAGES: list[Message] = [
    {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": "3", "tool_call_id": "1", "name": "count"},
]


@clause("C1.7")
def test_parts_and_further_keys_of_messages_pass_as_they_are() -> None:
    environment = Echo(MESSAGES)

    assert environment.start_episode(EXAMPLE, "") == MESSAGES
    assert environment.start_episode(EXAMPLE, "Count.")[1:] == MESSAGES


# As in a host whose environment depends on `openai`; our own packages are not installed there.
WITH_OPENAI = f"sys.path.append({sysconfig.get_path('purelib')!r}); import freesolo, openai\n"


@clause("C1.6")
def test_the_clients_work_in_a_host_that_has_the_package_openai(tmp_path: Path) -> None:
    code = (
        f"{WITH_OPENAI}"
        "client = freesolo.OpenAI(api_key='key', base_url='http://127.0.0.1:1')\n"
        "print(client.base_url)"
    )

    assert run_beside_the_contract(tmp_path, code) == "http://127.0.0.1:1/v1/"


@clause("C10.3")
def test_a_host_knows_no_platform(tmp_path: Path) -> None:
    code = (
        f"{WITH_OPENAI}"
        "try: freesolo.AsyncOpenAI(api_key='key')\n"
        "except openai.OpenAIError as error: print(error)"
    )

    assert "no address of a gateway" in run_beside_the_contract(tmp_path, code)
