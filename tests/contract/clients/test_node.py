"""Clients of JavaScript. Their tests are theirs: node runs them and we show what it says."""

import pytest

from tests.contract.clients.conftest import FOLDER, Gateway


@pytest.mark.parametrize("suite", ["openai_node.mjs", "vercel_ai.mjs"])
def test_a_client_of_javascript_is_served(gateway: Gateway, node: str, suite: str) -> None:
    said = gateway.run(node, "--test", "--test-reporter=tap", FOLDER / suite, POOR=gateway.poor)
    assert "# fail 0" in said
    assert "# skipped 0" in said
    assert "# pass 0" not in said
