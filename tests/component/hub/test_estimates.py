"""What a dry run says a run would take, and runs that cannot fit into what they ask for."""

import json

import pytest

from freesolo.domain.train_spec import TrainSpec, parse_train_spec
from freesolo.schemas.checks import CHECKS_HEADER, CheckedLengths, CheckReport
from freesolo.schemas.contents import DatasetReport
from hub_server.runs.estimates import as_counted, rows_of
from tests.component.hub.harness import MODEL, Document, HubUnderTest, error_of
from tests.factories import content_digest, make_environment, pack_folder

SPEC: Document = {"model": MODEL, "environment": {"id": "local/rows"}, "train": {"max_steps": 10}}
ON_GPU = {"device": {"name": "NVIDIA H200", "memory": 141 * 10**9}}
ON_CPU = {"device": {"name": "cpu-2", "memory": 24 * 10**9}}
STEP = {"loss": 1.0, "tokens_per_s": 500.0, "time/step": 2.0}


def publish(hub: HubUnderTest, **headers: str) -> None:
    """Publish `local/rows`: 30 questions of 80 characters, with answers of 10."""
    folder = make_environment(hub.path / "rows", name="rows")
    (folder / "dataset").mkdir()
    row = json.dumps({"input": "q" * 80, "output": "a" * 10})
    (folder / "dataset" / "train.jsonl").write_text(f"{row}\n" * 30)
    assert hub.send(pack_folder(folder), "rows", "0.1.0", **headers).is_success


def estimate(hub: HubUnderTest, **change: object) -> Document:
    answer = hub.user.post("/v1/runs", json={"spec": SPEC | change, "dry_run": True})
    assert answer.status_code == 200, answer.text
    found: Document = answer.json()["estimate"]
    return found


def finish(hub: HubUnderTest, started: Document, *steps: Document) -> None:
    """Take a new run to its end on some device: it starts after 7 s."""
    assert hub.user.post("/v1/runs", json={"spec": SPEC}).status_code == 201
    lease = hub.claim()
    hub.clock.advance(7)
    assert hub.report(lease, "start", {"total_steps": 10} | started).is_success
    events = [{"kind": "metrics", "step": 1 + at, "data": step} for at, step in enumerate(steps)]
    assert hub.report(lease, "events", {"first": 0, "events": events}).is_success
    hub.save(lease, 10, content=str(hub.clock()).encode())
    assert hub.report(lease, "complete", {"step": 10}).is_success


def test_a_dry_run_estimates_from_the_dataset_and_an_anchor(hub: HubUnderTest) -> None:
    publish(hub)
    found = estimate(hub, train={"epochs": 1, "batch_size": 8})
    assert (found["device"], found["examples"], found["steps"]) == ("cpu-2", 30, 4)
    # Four characters a token and six for each message.
    assert found["tokens"] == {"prompt": 32 * 26, "sampled": 0, "trained": 32 * (26 + 9)}
    assert found["price"]["total"] == 32 * 35 * 4_800
    assert found["source"].startswith("anchor: ")
    assert found["seconds"]["total"]["low"] < found["seconds"]["total"]["high"]
    assert found["peak_memory"] > 10**9
    assert found["fits"] is None
    assert "dataset/train.jsonl" in found["assumptions"][0]


def test_what_validate_counted_is_better_than_characters(hub: HubUnderTest) -> None:
    counted = CheckedLengths(model=MODEL, exact=True, rows=30, median=68, longest=90)
    other = counted.model_copy(update={"model": "acme/other", "median": 5})
    checks = CheckReport(errors=0, warnings=0, infos=0, validator="1", lengths=[other, counted])
    publish(hub, **{CHECKS_HEADER: checks.header_value()})
    found = estimate(hub, train={"epochs": 1, "batch_size": 8})
    assert found["tokens"] == {"prompt": 32 * (68 - 9), "sampled": 0, "trained": 32 * 68}
    assert "counted by `validate`" in found["assumptions"][0]


def test_an_environment_without_rows_in_files_is_estimated_by_assumptions(
    hub: HubUnderTest,
) -> None:
    hub.publish()
    found = estimate(hub, environment={"id": "local/agree"})
    assert found["examples"] == 1000
    assert "assumed" in found["assumptions"][0]


def test_what_runs_measured_here_is_what_the_next_is_estimated_by(hub: HubUnderTest) -> None:
    publish(hub)
    finish(hub, ON_CPU, STEP, STEP | {"tokens_per_s": 400.0}, STEP)
    found = estimate(hub)
    assert found["source"] == "measured on 1 run here"
    assert (found["device"], found["device_memory"], found["fits"]) == ("cpu-2", 24 * 10**9, True)
    assert found["seconds"]["update"]["expected"] == pytest.approx(found["tokens"]["trained"] / 500)
    assert found["seconds"]["start_up"]["expected"] == 7


def test_a_run_on_another_device_says_nothing_of_this_one(hub: HubUnderTest) -> None:
    publish(hub)
    finish(hub, ON_GPU, STEP)
    assert estimate(hub)["source"] == "measured on 1 run here"
    assert estimate(hub, gpu={"type": "cpu"})["source"].startswith("anchor: ")
    unknown = estimate(hub, gpu={"type": "RTX 9999"})
    assert (unknown["seconds"], unknown["source"]) == (
        None,
        "nothing was measured on RTX 9999 yet",
    )


def test_another_algorithm_says_nothing_of_this_one(hub: HubUnderTest) -> None:
    publish(hub)
    finish(hub, ON_CPU, STEP)
    assert estimate(hub, algorithm="grpo")["source"].startswith("anchor: ")


def test_the_pace_of_another_orgs_runs_is_not_told(hub: HubUnderTest) -> None:
    publish(hub)
    finish(hub, ON_GPU, STEP)
    stranger = hub.client(hub.make_member("acme"))
    folder = make_environment(hub.path / "theirs", name="theirs")
    packed = pack_folder(folder)
    published = stranger.put(
        "/v1/envs/acme/theirs/versions/0.1.0",
        content=packed.path.read_bytes(),
        headers={"Content-Digest": content_digest(packed.archive_digest)},
    )
    assert published.is_success, published.text
    spec = SPEC | {"environment": {"id": "acme/theirs"}}
    found = stranger.post("/v1/runs", json={"spec": spec, "dry_run": True}).json()["estimate"]
    assert found["device"] == "cpu-2"
    assert found["source"].startswith("anchor: ")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_that_cannot_fit_into_what_it_asks_for_is_refused(
    hub: HubUnderTest, dry_run: bool
) -> None:
    publish(hub)
    finish(hub, {"device": {"name": "cpu-1", "memory": 5 * 10**9}}, STEP)
    spec = SPEC | {"algorithm": "grpo", "gpu": {"type": "cpu"}}
    refused = hub.user.post("/v1/runs", json={"spec": spec, "dry_run": dry_run})
    assert refused.status_code == 422
    error = error_of(refused)
    assert error["code"] == "invalid_train_spec"
    assert "cpu-1 has 5.0 GB" in error["message"]
    assert error["problems"][0]["path"] == "train.batch_size"
    fitting = int(error["hint"].split(" at ")[1].split(",")[0])
    smaller = spec | {"train": {"max_steps": 10, "batch_size": fitting}}
    assert hub.user.post("/v1/runs", json={"spec": smaller, "dry_run": True}).status_code == 200


def test_a_run_that_asks_for_no_device_is_only_told(hub: HubUnderTest) -> None:
    publish(hub)
    finish(hub, {"device": {"name": "cpu-1", "memory": 5 * 10**9}}, STEP)
    found = estimate(hub, algorithm="grpo")
    assert found["fits"] is False
    assert [knob["key"] for knob in found["knobs"]] == ["train.batch_size"]


def test_the_largest_device_that_answers_decides(hub: HubUnderTest) -> None:
    publish(hub)
    finish(hub, ON_CPU, STEP)
    finish(hub, {"device": {"name": "cpu-1", "memory": 10**9}}, STEP)
    assert estimate(hub, gpu={"type": "cpu"})["device"] == "cpu-1"


def test_a_device_that_is_no_device_is_refused(hub: HubUnderTest) -> None:
    publish(hub)
    assert hub.user.post("/v1/runs", json={"spec": SPEC}).status_code == 201
    lease = hub.claim()
    body = {"total_steps": 1, "device": {"name": "", "memory": -1}}
    assert hub.report(lease, "start", body).status_code == 422


def spec_of(**params: object) -> TrainSpec:
    return parse_train_spec({"model": MODEL, "environment": {"id": "local/rows", "params": params}})


def split(name: str, rows: int, **columns: int) -> Document:
    """Describe a file whose columns hold texts of so many characters."""
    return {
        "name": name,
        "path": f"dataset/{name}.jsonl",
        "rows": rows,
        "duplicates": 0,
        "broken": 0,
        "complete": name != "cut",
        "columns": [
            {
                "name": column,
                "types": {"string": rows},
                "empty": 0,
                "lengths": {"min": 1, "median": size, "p95": size, "max": 2 * size},
            }
            for column, size in columns.items()
        ],
        "preview": [],
    }


def report(*splits: Document) -> DatasetReport:
    return DatasetReport.model_validate(
        {"splits": splits, "shared": [], "findings": [], "max_rows": 100, "max_bytes": 100}
    )


@pytest.mark.parametrize(
    ("params", "count"),
    [({}, 20), ({"split": "hard"}, 5), ({"split": "none"}, 20), ({"split": 3}, 20)],
)
def test_a_run_is_over_the_split_that_it_names_else_over_train(
    params: dict[str, object], count: int
) -> None:
    found = report(
        split("eval", 90, input=4), split("train", 20, input=4), split("hard", 5, input=4)
    )
    assert rows_of(found, spec_of(**params), turns=1).count == count


def test_without_a_split_of_that_name_the_largest_counts() -> None:
    found = rows_of(report(split("a", 3, input=4), split("b", 7, input=4)), spec_of(), turns=1)
    assert found.count == 7


def test_columns_of_other_names_leave_lengths_to_assumption() -> None:
    found = rows_of(report(split("train", 7, question=400)), spec_of(), turns=3)
    assert (found.count, found.known, found.lengths.turns) == (7, False, 3)
    assert "no column `input`" in found.assumptions[0]


def test_a_file_that_was_not_read_to_its_end_is_told() -> None:
    found = rows_of(report(split("cut", 7, input=40)), spec_of(), turns=1)
    assert found.known
    assert (found.lengths.prompt, found.lengths.longest_prompt) == (16, 26)
    assert any("more rows than the 7" in said for said in found.assumptions)


def test_a_count_that_is_shorter_than_the_files_say_leaves_a_prompt() -> None:
    rows = rows_of(report(split("train", 7, input=40, output=400)), spec_of(), turns=2)
    counted = CheckedLengths(model=MODEL, exact=False, rows=7, median=3, longest=4)
    found = as_counted(rows, counted)
    lengths = found.lengths
    assert (lengths.prompt, lengths.answer, lengths.longest_prompt, lengths.longest_answer) == (
        1,
        2,
        1,
        3,
    )
    assert (found.count, lengths.turns) == (7, 2)
    assert "estimated from characters by `validate`" in found.assumptions[0]
