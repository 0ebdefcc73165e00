"""Our own clients against the gateway: they ask to be recorded, which it takes and does not do."""

import asyncio

from freesolo.openai_client import AsyncOpenAI, OpenAI
from tests.component.gateway.conftest import BASE, HELLO, Platform


def test_our_own_client_is_answered(platform: Platform) -> None:
    with OpenAI(api_key=platform.hub.user_key, base_url=platform.url, project_id="p") as client:
        answer = client.chat.completions.create(model=BASE, messages=HELLO)

    assert answer.choices[0].message.content == "base heard hello there"


def test_our_own_asynchronous_client_is_answered_word_by_word(platform: Platform) -> None:
    async def ask() -> str:
        async with AsyncOpenAI(api_key=platform.hub.user_key, base_url=platform.url) as client:
            stream = await client.chat.completions.create(model=BASE, messages=HELLO, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()).strip() == "base heard hello there"
