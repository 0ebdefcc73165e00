"""lm-eval's `local-chat-completions`, on a small task of our own."""

import json
from pathlib import Path

from tests.component.gateway.conftest import eventually
from tests.contract.clients.conftest import FOLDER, Gateway

SUMS = [{"question": f"{n}+{n}=", "answer": str(2 * n)} for n in range(6)]


def test_lm_eval_scores_every_answer(gateway: Gateway, python: Path, tmp_path: Path) -> None:
    rows = tmp_path / "sums.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in SUMS))
    task = (FOLDER / "lm_eval_tasks" / "sums.yaml").read_text().replace("SUMS", str(rows))
    (tmp_path / "sums.yaml").write_text(task)

    endpoint = f"base_url={gateway.endpoint}/chat/completions"
    gateway.run(
        *(python, "-m", "lm_eval", "run", "--model", "local-chat-completions"),
        *("--model_args", f"model={gateway.adapter},{endpoint},num_concurrent=3,max_retries=1"),
        *("--tasks", "sums", "--include_path", tmp_path, "--apply_chat_template"),
        *("--output_path", tmp_path / "out", "--log_samples"),
        OPENAI_API_KEY=gateway.chat_key("lm-eval"),
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HOME=str(tmp_path / "hugging-face"),
    )

    (results,) = (tmp_path / "out").rglob("results_*.json")
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    scored = json.loads(results.read_text())["results"]["sums"]["exact_match,none"]
    answers = [json.loads(line)["resps"][0][0] for line in samples.read_text().splitlines()]
    assert 0 <= scored <= 1
    assert len(answers) == len(SUMS)
    assert all(isinstance(answer, str) for answer in answers)
    eventually(lambda: gateway.requests_of("lm-eval"), lambda counted: counted == len(SUMS))
