"""Two routes that vLLM has no HTTP for: which adapters its engine holds, and taking one out of it.

vLLM's own `unload_lora_adapter` forgets a name and leaves its weights in the engine. These routes are
under `/v1`, which vLLM guards with its key. vLLM takes this class through the entry point group
`vllm.endpoint_plugins`; nothing here is called outside its API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

if TYPE_CHECKING:
    from argparse import Namespace

    from starlette.datastructures import State

PATH = "/v1/freesolo/adapters"


class ResidencyRoutes:
    """The plugin, by vLLM's protocol for such."""

    name = "freesolo_residency"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route(PATH, _resident, methods=["GET"])
        app.add_api_route(PATH + "/{name}", _remove, methods=["DELETE"])

    async def init_state(self, engine_client: object, state: State, args: Namespace) -> None:
        """Keep nothing: vLLM's own state has all that the routes need."""


async def _resident(request: Request) -> JSONResponse:
    """Return the names of the adapters that are in the engine's memory, and how many have none."""
    state = request.app.state
    held: set[int] = await state.engine_client.list_loras()
    names = {
        lora.lora_int_id: name for name, lora in state.openai_serving_models.lora_requests.items()
    }
    adapters = sorted(names[lora] for lora in held if lora in names)
    return JSONResponse({"adapters": adapters, "unnamed": len(held - names.keys())})


async def _remove(request: Request, name: str) -> Response:
    """Forget a name, so that nobody can ask for it, then take its adapter out of the engine."""
    from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest

    state = request.app.state
    models: Any = state.openai_serving_models
    lora = models.lora_requests.get(name)
    if lora is None:
        return JSONResponse({"error": {"message": f"No adapter {name!r} is loaded."}}, 404)
    await models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
    await state.engine_client.remove_lora(lora.lora_int_id)
    return Response(status_code=204)
