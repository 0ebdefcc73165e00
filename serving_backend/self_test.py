"""Whether an engine keeps adapters apart, tried before it serves anybody.

Stock vLLM answers base requests with an adapter of their batch on a CPU. Our plugin mends that, and an
engine in which it is not loaded, or mends it no more, must not serve.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from freesolo.domain.fingerprints import distance
from freesolo.errors import EngineUnavailable, FreesoloError
from serving_backend.engine import BASE_MODEL, EngineProcess, OwnSession, Session
from serving_backend.trials import ROUNDING, Heard, Trial, hear, require_alike

_QUESTION = "Hello."
_SECONDS = 180.0
# How far the adapters must move an answer at least, in nats, for the comparison to mean anything.
_FELT = 0.05


async def self_test(process: EngineProcess, session: OwnSession) -> None:
    """Try an engine with as many adapters as a batch may mix; nothing of them is left in it.

    Raise `EngineUnavailable` if what it answers depends on who else is asking.
    """
    try:
        with TemporaryDirectory(prefix="freesolo-self-test-") as folder:
            async with asyncio.timeout(_SECONDS):
                # The base model first, while there is nothing that it could be mixed up with.
                base = await hear(session, Trial(BASE_MODEL, _QUESTION))
                adapters = await process.write_adapters(Path(folder))
                async with AsyncExitStack() as stack:
                    for adapter in adapters:
                        await stack.enter_async_context(session.using(adapter.name, adapter))
                    await _require_apart(session, base, [adapter.name for adapter in adapters])
                await session.remove_idle()
    except TimeoutError:
        raise EngineUnavailable(
            f"The engine did not end its self-test within {_SECONDS:.0f} s."
        ) from None
    except EngineUnavailable:
        raise
    except FreesoloError as error:
        raise EngineUnavailable(f"The engine failed its self-test: {error.message}") from None


async def _require_apart(session: Session, base: Heard, names: Sequence[str]) -> None:
    trials = [Trial(name, _QUESTION) for name in names]
    alone = [await hear(session, trial) for trial in trials]
    effect, weakest = min(
        (distance(base, heard), trial.model) for trial, heard in zip(trials, alone, strict=True)
    )
    if effect < _FELT:
        raise EngineUnavailable(
            f"The engine failed its self-test: {weakest!r} answers as the base model does.",
            hint="Run-time adapters have no effect in it; its log may say why.",
        )
    # The base model twice: however a batch is laid out, some adapter is beside it. What is half an
    # adapter off is nobody's answer; models whose answers vary little have little rounding too.
    beside = Trial(BASE_MODEL, _QUESTION)
    await require_alike(
        session,
        [beside, *trials, beside],
        [base, *alone, base],
        tolerance=min(ROUNDING, effect / 2),
    )
