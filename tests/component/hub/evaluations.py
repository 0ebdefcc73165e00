"""What a model got, as a client sends it."""

from tests.component.hub.harness import Document, HubUnderTest


def case(index: int, outcome: str = "passed", **changes: object) -> Document:
    """Return an answer to a case; it has a score just if it was scored."""
    score = {"passed": 1.0, "failed": 0.0}.get(outcome)
    words = {"id": f"case-{index}", "prompt": "Do you agree?", "expected": "yes", "answer": "yes"}
    return {"index": index, "sample": 0, **words, "outcome": outcome, "score": score, **changes}


def evaluation(
    hub: HubUnderTest, *cases: Document, name: str = "agree", **changes: object
) -> Document:
    """Return the body that stores `cases` as what a model got in an environment's 0.1.0."""
    pin = hub.user.get(f"/v1/envs/local/{name}/resolve", params={"spec": "0.1.0"}).json()
    return {
        "environment": f"local/{name}@0.1.0",
        "tree_digest": pin["tree_digest"],
        "target": "base",
        "settings": {"temperature": 0, "max_tokens": 16},
        "suites": [{"name": "heldout", "cases": list(cases or [case(0)])}],
        **changes,
    }


def store(hub: HubUnderTest, *cases: Document, name: str = "agree", **changes: object) -> Document:
    """Store an evaluation of an environment's 0.1.0 and return it."""
    body = evaluation(hub, *cases, name=name, **changes)
    response = hub.user.post("/v1/evals", json=body)
    assert response.status_code == 201, response.text
    document: Document = response.json()
    return document
