"""What a checkpoint notes of its adapter, taken from the tiny model."""

import torch
from peft import PeftModel

from freesolo.domain.fingerprints import LIKELIEST, PLACES, QUESTIONS, Place, distance
from training_backend.chat import ChatFormat
from training_backend.fingerprints import Questions, fingerprint
from training_backend.lora import lean


def test_the_noted_tokens_are_those_that_the_model_finds_likeliest(
    policy: PeftModel, chat: ChatFormat
) -> None:
    questions = Questions.of(chat)
    noted = fingerprint(policy, questions)

    assert [answer.question for answer in noted.answers] == list(QUESTIONS)
    for answer, prompt in zip(noted.answers, questions.prompts, strict=True):
        assert [len(place.likeliest) for place in answer.places] == [LIKELIEST] * PLACES
        # The whole answer at once, in float32 and without padding.
        begun = [*prompt, *(place.said for place in answer.places[:-1])]
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([begun])).logits[0, len(prompt) - 1 :]
        likely = logits.log_softmax(-1).topk(LIKELIEST)
        pairs = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
        plain = [
            Place(said=tokens[0], likeliest=dict(zip(tokens, values, strict=True)))
            for tokens, values in pairs
        ]
        assert distance(answer.places, plain) < 0.02


def test_another_adapter_has_another_fingerprint(policy: PeftModel, chat: ChatFormat) -> None:
    questions = Questions.of(chat)
    before = fingerprint(policy, questions)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(weight)
    after = fingerprint(policy, questions)

    pairs = zip(before.answers, after.answers, strict=True)
    assert max(distance(one.places, other.places) for one, other in pairs) > 0.1


def test_taking_it_changes_nothing_and_gives_the_same_again(
    policy: PeftModel, chat: ChatFormat
) -> None:
    questions = Questions.of(chat)
    policy.train()
    before = torch.get_rng_state()

    with lean(policy):
        assert fingerprint(policy, questions) == fingerprint(policy, questions)

    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in policy.modules())
    assert all(weight.grad is None for weight in policy.parameters())
