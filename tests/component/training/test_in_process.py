"""The in-process sampler against the plain forward pass of the same model."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from peft import PeftModel

from training_backend.chat import ChatFormat
from training_backend.sampling.in_process import InProcessSampler
from training_backend.sampling.sampler import Finish, Ids, Request, Rules, Sampled, seed_of

NEVER: frozenset[int] = frozenset()


def sampler_of(
    policy: PeftModel, chat: ChatFormat, *, room: int = 1 << 30, **rules: object
) -> InProcessSampler:
    chosen = Rules(**{"temperature": 1.0, "stop_ids": NEVER, **rules})  # type: ignore[arg-type]
    return InProcessSampler(
        policy,
        chosen,
        decode=lambda ids: chat.decode(ids, special=False),
        room=room,
    )


def request(*ids: int, seed: int = 0, max_tokens: int = 6) -> Request:
    return Request(ids, seed_of(seed), max_tokens)


PROMPTS = [(9, 8, 7), (50, 51, 52, 53, 54, 55, 56), (9, 8, 7), (200,)]


def expected_logprobs(
    policy: PeftModel, prompt: Ids, said: Ids, *, temperature: float = 1.0
) -> list[float]:
    policy.eval()
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([prompt + said])).logits[0] / temperature
    log_probs = logits.log_softmax(-1)
    start = len(prompt) - 1
    return [float(log_probs[start + place, token]) for place, token in enumerate(said)]


def agree(policy: PeftModel, requests: Sequence[Request], answers: Sequence[Sampled]) -> None:
    for asked, answer in zip(requests, answers, strict=True):
        expected = expected_logprobs(policy, asked.ids, answer.ids)
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_tokens_are_as_likely_as_the_model_says(policy: PeftModel, chat: ChatFormat) -> None:
    requests = [request(*ids, seed=number) for number, ids in enumerate(PROMPTS)]
    answers = sampler_of(policy, chat).sample(requests)

    agree(policy, requests, answers)
    assert {answer.finish for answer in answers} == {Finish.LENGTH}
    assert [len(answer.ids) for answer in answers] == [6] * 4


def test_an_answer_depends_on_its_seed_and_not_on_its_company(
    policy: PeftModel, chat: ChatFormat
) -> None:
    requests = [request(*ids, seed=number) for number, ids in enumerate(PROMPTS)]
    together = sampler_of(policy, chat).sample(requests)
    alone = [sampler_of(policy, chat).sample([one])[0] for one in requests]

    assert [answer.ids for answer in together] == [answer.ids for answer in alone]
    # One prompt, two seeds.
    assert together[0].ids != together[2].ids


def test_rows_that_end_leave_the_others_as_they_are(policy: PeftModel, chat: ChatFormat) -> None:
    requests = [
        request(*ids, seed=number, max_tokens=1 + 3 * number) for number, ids in enumerate(PROMPTS)
    ]
    answers = sampler_of(policy, chat).sample(requests)

    assert [len(answer.ids) for answer in answers] == [1, 4, 7, 10]
    agree(policy, requests, answers)


def test_a_next_turn_goes_on_from_what_was_read(policy: PeftModel, chat: ChatFormat) -> None:
    sampler = sampler_of(policy, chat)
    first = [request(*ids, seed=number) for number, ids in enumerate(PROMPTS)]
    said = sampler.sample(first)
    longer = [
        request(*asked.ids, *answer.ids, *range(60, 61 + number), seed=9 + number)
        for number, (asked, answer) in enumerate(zip(first, said, strict=True))
    ]
    # One of the four has ended; a new one joins.
    requests = [*longer[1:], request(33, 34)]

    answers = sampler.sample(requests)

    agree(policy, requests, answers)
    fresh = sampler_of(policy, chat).sample(requests)
    assert [answer.ids for answer in answers] == [answer.ids for answer in fresh]


def test_nothing_is_kept_when_the_policy_changes(policy: PeftModel, chat: ChatFormat) -> None:
    sampler = sampler_of(policy, chat)
    (said,) = sampler.sample([request(9, 8, 7)])
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.mul_(-3.0)
    sampler.policy_changed()
    requests = [request(9, 8, 7, *said.ids, 60)]

    agree(policy, requests, sampler.sample(requests))


def test_what_there_is_no_room_for_is_read_in_several_batches(
    policy: PeftModel, chat: ChatFormat
) -> None:
    requests = [request(*ids, seed=number) for number, ids in enumerate(PROMPTS)]
    narrow = sampler_of(policy, chat, room=20_000).sample(requests)

    assert narrow == sampler_of(policy, chat).sample(requests) or [
        answer.ids for answer in narrow
    ] == [answer.ids for answer in sampler_of(policy, chat).sample(requests)]


def test_a_turn_ends_with_a_stop_token_or_where_a_stop_sequence_is(
    policy: PeftModel, chat: ChatFormat
) -> None:
    (free,) = sampler_of(policy, chat).sample([request(9, 8, 7, max_tokens=8)])
    stop = free.ids[3]
    (stopped,) = sampler_of(policy, chat, stop_ids=frozenset({stop})).sample(
        [request(9, 8, 7, max_tokens=8)]
    )
    assert stopped.finish is Finish.STOP
    assert stopped.ids == free.ids[: free.ids.index(stop) + 1]

    (spoken,) = sampler_of(policy, chat).sample([request(*chat.encode("abc"), max_tokens=40)])
    text = chat.decode(spoken.ids, special=False)
    place = next(place for place, letter in enumerate(text) if letter.isascii())
    (cut,) = sampler_of(policy, chat, stop_sequences=(text[place],)).sample(
        [request(*chat.encode("abc"), max_tokens=40)]
    )
    assert cut.finish is Finish.STOP
    assert text[place] in chat.decode(cut.ids, special=False)
    assert len(cut.ids) < len(spoken.ids)


def test_the_temperature_counts_into_the_logprobs(policy: PeftModel, chat: ChatFormat) -> None:
    (answer,) = sampler_of(policy, chat, temperature=0.5).sample([request(9, 8, 7)])
    expected = expected_logprobs(policy, (9, 8, 7), answer.ids, temperature=0.5)
    assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_tokens_are_drawn_as_often_as_they_are_likely(policy: PeftModel, chat: ChatFormat) -> None:
    draws = 3000
    requests = [Request((9, 8, 7), seed_of(number), 1) for number in range(draws)]
    drawn = Counter(
        answer.ids[0] for answer in sampler_of(policy, chat, temperature=0.1).sample(requests)
    )
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([[9, 8, 7]])).logits[0, -1] / 0.1
    likely = logits.softmax(-1)
    for token in likely.topk(5).indices.tolist():
        share = float(likely[token])
        # Five standard deviations of a binomial share.
        assert drawn[token] / draws == pytest.approx(
            share, abs=5 * (share * (1 - share) / draws) ** 0.5
        )


def test_the_model_is_left_as_it_was(policy: PeftModel, chat: ChatFormat) -> None:
    policy.train()
    before = policy(input_ids=torch.tensor([[9, 8, 7]])).logits
    sampler_of(policy, chat).sample([request(9, 8, 7)])

    assert policy.training
    assert policy.get_base_model().config._attn_implementation == "eager"
    after = policy(input_ids=torch.tensor([[9, 8, 7]])).logits
    assert torch.equal(before, after)
    assert after.requires_grad
