import pytest

from freesolo.domain.refs import AdapterRef
from freesolo.domain.teachers import TeacherEndpoint, parse_teacher
from freesolo.domain.train_spec import OpdSpec, job_secrets, parse_train_spec
from freesolo.errors import InvalidTrainSpec


def spec_of(teacher: str) -> OpdSpec:
    spec = parse_train_spec(
        {
            "model": "m",
            "algorithm": "opd",
            "environment": {"id": "local/math"},
            "train": {"teacher_model": teacher},
        }
    )
    assert isinstance(spec, OpdSpec)
    return spec


@pytest.mark.parametrize(
    ("text", "teacher"),
    [
        ("Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-9B"),
        ("run-ab12cd34ef", AdapterRef("run-ab12cd34ef")),
        ("run-ab12cd34ef/step-20", AdapterRef("run-ab12cd34ef", 20)),
        ("https://host/v1#a/model", TeacherEndpoint("https://host/v1", "a/model")),
        ("http://127.0.0.1:8000/v1/#m", TeacherEndpoint("http://127.0.0.1:8000/v1", "m")),
    ],
)
def test_a_teacher_is_read_and_written_again(text: str, teacher: object) -> None:
    assert parse_teacher(text) == teacher
    assert parse_teacher(str(teacher)) == teacher
    assert spec_of(text).train.teacher == teacher


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://user:hunter2@host/v1#m", "TEACHER_API_KEY"),
        ("https://host/v1?key=hunter2#m", "TEACHER_API_KEY"),
        ("https://host/v1", "names no model"),
        ("https://host/v1#", "names no model"),
        ("ftp://host/v1#m", "http or https"),
        ("https:///v1#m", "http or https"),
        ("https://host:port/v1#m", "no URL"),
        ("https://[::1/v1#m", "no URL"),
        ("https://ho st/v1#m", "http or https"),
        ("run-short", "adapter reference"),
    ],
)
def test_a_teacher_of_no_known_form_is_refused_and_no_key_repeated(text: str, words: str) -> None:
    with pytest.raises(InvalidTrainSpec, match=words) as refusal:
        spec_of(text)
    assert [problem.path for problem in refusal.value.problems] == ["train.teacher_model"]
    assert "hunter2" not in str(refusal.value.to_wire())


def test_only_a_teacher_elsewhere_may_want_a_key() -> None:
    assert job_secrets(spec_of("https://host/v1#m")) == ("TEACHER_API_KEY",)
    assert job_secrets(spec_of("run-ab12cd34ef")) == ()
