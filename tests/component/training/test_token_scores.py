import pytest
import torch

from training_backend.token_scores import OutputLayer, score_tokens


@pytest.mark.parametrize("count", [0, 3, 600])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_and_gradients_are_those_of_the_plain_formula(
    count: int, temperature: float
) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(count, 8, dtype=torch.float32, requires_grad=True)
    weight, bias = torch.randn(50, 8), torch.randn(50)
    targets, given = torch.randint(0, 50, (count,)), torch.randn(count)

    plain = ((hidden @ weight.T + bias) / temperature).log_softmax(-1)
    expected = plain.gather(1, targets[:, None]).squeeze(1)
    (wanted,) = torch.autograd.grad((expected * given).sum(), hidden)

    logprobs, entropies = score_tokens(
        hidden, OutputLayer(weight, bias), targets, temperature=temperature
    )
    (found,) = torch.autograd.grad((logprobs * given).sum(), hidden)

    torch.testing.assert_close(logprobs, expected)
    torch.testing.assert_close(entropies, -(plain.exp() * plain).sum(-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
