"""`freesolo chat`."""

import sys
from collections.abc import Mapping

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.client.chat import ChatClient


@click.command()
@click.argument("model")
@click.option("-m", "--message", help="Ask this and leave; without it, talk until Ctrl-D.")
@click.option("--system", help="System message.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@json_option("model, content, finish_reason, prompt_tokens, completion_tokens")
@pass_app
def chat(
    app: App,
    model: str,
    message: str | None,
    *,
    system: str | None,
    max_tokens: int,
    temperature: float,
) -> None:
    """Talk to MODEL: a deployed run's id, the full revision of an adapter, or a base model's id."""
    history: list[Mapping[str, str]] = []
    if system:
        history.append({"role": "system", "content": system})
    with app.gateway() as gateway:
        if message is None and app.out.interactive:
            _converse(app, gateway, model, history, max_tokens=max_tokens, temperature=temperature)
            return
        text = message if message is not None else sys.stdin.read()
        history.append({"role": "user", "content": text})
        if app.out.json_mode:
            answer = gateway.complete(
                model, history, max_tokens=max_tokens, temperature=temperature
            )
            app.out.document(
                {
                    "model": model,
                    "content": answer.text,
                    "finish_reason": answer.finish_reason,
                    "prompt_tokens": answer.usage.prompt_tokens,
                    "completion_tokens": answer.usage.completion_tokens,
                }
            )
            return
        for piece in gateway.stream(model, history, max_tokens=max_tokens, temperature=temperature):
            app.out.piece(piece)
        app.out.data()


def _converse(
    app: App,
    gateway: ChatClient,
    model: str,
    history: list[Mapping[str, str]],
    *,
    max_tokens: int,
    temperature: float,
) -> None:
    app.out.talk(f"Talking to {model}. Ctrl-D ends.")
    while True:
        try:
            text = str(click.prompt("you", prompt_suffix="> ", err=True))
        except click.Abort:
            return
        history.append({"role": "user", "content": text})
        said = ""
        for piece in gateway.stream(model, history, max_tokens=max_tokens, temperature=temperature):
            app.out.piece(piece)
            said += piece
        app.out.data()
        history.append({"role": "assistant", "content": said})
