"""`freesolo models`."""

import click

from freesolo.cli.context import App, json_option, pass_app
from freesolo.schemas.deployments import Model

# Prices are pico-dollars a token: a million of them cost as many micro-dollars.
_PER_MILLION = 1e-6


@click.command()
@json_option(
    "models[] (id, revision, parameters, context, max_rank, algorithms, price_input, price_output, price_train: pico-dollars a token)"
)
@pass_app
def models(app: App) -> None:
    """List the base models that can be trained and served."""
    found = app.hub.models()
    app.out.document({"models": [model.model_dump(mode="json") for model in found]})
    app.out.table(
        (
            "model",
            "parameters",
            "context",
            "max rank",
            "algorithms",
            "in $/M",
            "out $/M",
            "train $/M",
        ),
        [_row(model) for model in found],
    )


def _row(model: Model) -> tuple[object, ...]:
    return (
        model.id,
        f"{model.parameters / 1e6:.0f} M",
        model.context,
        model.max_rank,
        ", ".join(model.algorithms),
        *(
            f"{price * _PER_MILLION:.4f}"
            for price in (model.price_input, model.price_output, model.price_train)
        ),
    )
