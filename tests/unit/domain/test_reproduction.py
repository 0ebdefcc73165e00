from freesolo.domain.reproduction import Difference, StepPair, differences, pair_steps


def test_each_step_that_the_original_saved_is_set_against_the_other() -> None:
    pairs = pair_steps({20: "b", 10: "a"}, {10: "a", 30: "c"})
    assert pairs == [StepPair(10, "a", "a"), StepPair(20, "b", None)]
    assert [pair.identical for pair in pairs] == [True, False]


def test_what_two_provenances_do_not_share_is_named_by_its_path() -> None:
    original = {"python": "3.11", "packages": {"torch": "2.11", "peft": "0.21"}, "teacher": None}
    other = {
        "python": "3.11",
        "packages": {"torch": "2.12", "trl": "1"},
        "teacher": {"endpoint": "x"},
    }
    found = list(differences(original, other))
    assert found == [
        Difference("packages.peft", "0.21", None),
        Difference("packages.torch", "2.11", "2.12"),
        Difference("packages.trl", None, "1"),
        Difference("teacher", None, {"endpoint": "x"}),
    ]
    assert str(found[1]) == "packages.torch: '2.11' and '2.12'"


def test_the_same_provenance_differs_in_nothing() -> None:
    same = {"packages": {"torch": "2.11"}}
    assert list(differences(same, dict(same))) == []
