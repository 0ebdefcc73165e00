"""How large the parts of a decoder are: what memory is counted from."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field


class ModelShape(BaseModel):
    """The widths of a decoder of the Llama kind, as `config.json` of `transformers` names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_width: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied_embeddings: bool = False

    @property
    def embedding_parameters(self) -> int:
        """The weights of the embedding and of the output layer, which may be the same ones."""
        return self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)

    @property
    def attention_width(self) -> int:
        """What all heads are wide together."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """What keys are wide in a layer, and values as well."""
        return self.kv_heads * self.head_width

    def adapter_parameters(self, rank: int) -> int:
        """Count an adapter on all linear layers but the output's: `rank * (in + out)` for each."""
        attention = 2 * (self.hidden + self.attention_width) + 2 * (self.hidden + self.kv_width)
        perceptron = 3 * (self.hidden + self.intermediate)
        return self.layers * rank * (attention + perceptron)


def shape_from_config(config: Mapping[str, object]) -> ModelShape | None:
    """Read the shape out of a model's `config.json`; None if that does not tell it.

    Models that also see keep the decoder's numbers under `text_config`. A mixture of experts is of
    another kind, and so are layers that do not attend to all before them: those shapes are not told.
    """
    nested = config.get("text_config")
    decoder = {**config, **nested} if isinstance(nested, Mapping) else config
    if any(
        _count(decoder, key) for key in ("num_experts", "num_local_experts", "n_routed_experts")
    ):
        return None
    kinds = decoder.get("layer_types")
    if isinstance(kinds, Sequence) and not (
        kinds and all(kind == "full_attention" for kind in kinds)
    ):
        return None
    hidden, heads = _count(decoder, "hidden_size"), _count(decoder, "num_attention_heads")
    layers, vocabulary = _count(decoder, "num_hidden_layers"), _count(decoder, "vocab_size")
    intermediate = _count(decoder, "intermediate_size")
    if not (hidden and heads and layers and vocabulary and intermediate):
        return None
    return ModelShape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=_count(decoder, "num_key_value_heads") or heads,
        head_width=_count(decoder, "head_dim") or max(1, hidden // heads),
        intermediate=intermediate,
        vocabulary=vocabulary,
        tied_embeddings=decoder.get("tie_word_embeddings") is True,
    )


def _count(config: Mapping[str, object], key: str) -> int:
    """Return a positive number of the config, 0 where there is none."""
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
