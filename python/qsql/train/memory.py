"""How much GPU memory and disk a training run takes, by part, from the shape of the model alone.

The figures are bytes on the fullest GPU. They hold for decoder-only models with gated MLPs (Llama, Qwen) and were
compared with measured peaks (`tests/test_train_memory.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 1 << 30
LOGIT_BYTES = 14
"""Of one logit in training: bf16, its float32 copy, the log-softmax and the gradient."""


@dataclass(frozen=True)
class Shape:
    """What of a model's `config.json` decides its size."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    tied: bool = True
    head_norms: bool = False
    """Whether queries and keys are normalised by head, as in Qwen3."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Shape | None:
        """Read a `config.json`; None if the model is of another kind."""
        try:
            heads = int(config["num_attention_heads"])
            hidden = int(config["hidden_size"])
            return cls(
                hidden=hidden,
                intermediate=int(config["intermediate_size"]),
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                key_value_heads=int(config.get("num_key_value_heads") or heads),
                head_size=int(config.get("head_dim") or hidden // heads),
                vocabulary=int(config["vocab_size"]),
                tied=bool(config.get("tie_word_embeddings", False)),
                head_norms=str(config.get("model_type", "")).startswith("qwen3"),
            )
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return None

    @property
    def parameters(self) -> int:
        """Number of weights."""
        attention = 2 * self.hidden * self.heads * self.head_size
        attention += 2 * self.hidden * self.key_value_heads * self.head_size
        norms = 2 * self.hidden + (2 * self.head_size if self.head_norms else 0)
        layer = attention + 3 * self.hidden * self.intermediate + norms
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.hidden

    def activation_bytes(
        self, *, checkpointed: bool, upcast: bool = True, adapted: bool = False, compiled: bool = False
    ) -> int:
        """What the backward pass keeps of one token.

        Args:
            checkpointed: Whether it keeps the input of each layer alone; all of one layer comes on top, which is small
                beside the logits.
            upcast: Whether what goes from layer to layer is float32, as it is where autocast works on float32 weights.
                Each product then keeps a copy of its input in 16 bits.
            adapted: Whether each product has an adapter, which keeps a copy of its own.
            compiled: Whether layers are compiled, so that nothing is kept which can be had from something else.
        """
        if checkpointed:
            return (4 if upcast else 2) * self.hidden * self.layers
        width = (self.heads + 2 * self.key_value_heads) * self.head_size
        # Norms of heads keep what they normalise.
        of_width = (6 if compiled else 8) if self.head_norms else 4
        if compiled:
            return self.layers * ((15 if adapted else 12) * self.hidden + of_width * width + 6 * self.intermediate)
        of_hidden = (30 if upcast else 16) + (8 if adapted else 0)
        return self.layers * (of_hidden * self.hidden + of_width * width + 8 * self.intermediate)


QWEN3_4B = Shape(2560, 9728, 36, 32, 8, 128, 151936, tied=True, head_norms=True)
KNOWN_SHAPES = {
    "Qwen/Qwen3-4B-Base": QWEN3_4B,
    "Qwen/Qwen3-4B": QWEN3_4B,
    "Qwen/Qwen3-1.7B-Base": Shape(2048, 6144, 28, 16, 8, 128, 151936, tied=True, head_norms=True),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Shape(576, 1536, 30, 9, 3, 64, 49152),
}
"""Models of the shipped configurations, so that a dry run needs no download."""


@dataclass(frozen=True)
class Training:
    """What of a configuration decides the memory it takes."""

    tokens: int
    """Tokens of the largest batch of one GPU, padding included."""
    trained_tokens: int
    """Tokens of that batch for which logits are computed."""
    mixed: bool = True
    """bf16 or fp16 arithmetic over float32 weights; else all is in one type."""
    weight_bytes: float = 4
    state_bytes: float = 8
    """Of the optimizer, for each trained weight."""
    trained_weights: int | None = None
    """Weights of the adapter where only an adapter is trained."""
    checkpointed: bool = True
    compiled: bool = False
    accumulates: bool = True
    """Whether gradients of earlier batches are there during the forward pass."""
    gpus: int = 1
    shards: tuple[str, ...] = ()
    """Of `weights`, `gradients` and `optimizer`, what the GPUs divide among them."""
    layers_gathered: int | None = 2
    """Layers whose weights a GPU holds whole at once where weights are divided; None for all."""

    def activation_bytes(self, shape: Shape, *, checkpointed: bool) -> int:
        """What the backward pass keeps of one token."""
        return shape.activation_bytes(
            checkpointed=checkpointed,
            upcast=self.mixed and self.weight_bytes == 4,
            adapted=self.trained_weights is not None,
            compiled=self.compiled,
        )


def estimate(shape: Shape, training: Training) -> dict[str, int]:
    """Estimate the peak by part, in bytes."""
    parameters = shape.parameters
    trained = parameters if training.trained_weights is None else training.trained_weights
    gradient_bytes = 4 if training.trained_weights is not None else training.weight_bytes

    def share(part: str, size: float) -> int:
        return int(size / training.gpus) if part in training.shards else int(size)

    weights = share("weights", parameters * training.weight_bytes + (trained * 4 if trained < parameters else 0))
    gradients = share("gradients", trained * gradient_bytes)
    copies = 2 * parameters if training.mixed and training.trained_weights is None else 0
    if "weights" in training.shards and training.layers_gathered is not None:
        copies = 2 * parameters * min(training.layers_gathered, shape.layers) // shape.layers
    activations = training.tokens * training.activation_bytes(shape, checkpointed=training.checkpointed)
    logits = training.trained_tokens * shape.vocabulary * LOGIT_BYTES
    if not training.accumulates:
        # Each layer's gradients come when its activations go, so only the larger of the two counts.
        transient = activations + logits
        gradients, activations, logits = (gradients, 0, 0) if gradients > transient else (0, activations, logits)
    buffers = trained * 4 if training.gpus > 1 and not training.shards else 0
    return {
        "weights": weights,
        "bf16 copies of weights": copies,
        "gradients": gradients,
        "optimizer": share("optimizer", trained * training.state_bytes),
        "activations": activations,
        "logits": logits,
        **({"communication": buffers} if buffers else {}),
    }


def row_budget(shape: Shape, training: Training) -> dict[str, int]:
    """Estimate what a row takes whose activations are kept: `static_bytes`, and `bytes_per_token` for each token.

    They are all there when the backward pass begins, and go faster than gradients come. The first gradient is that of
    the output layer.
    """
    parts = estimate(shape, training)
    static = sum(parts.get(name, 0) for name in ("weights", "bf16 copies of weights", "optimizer", "communication"))
    static += training.trained_tokens * shape.vocabulary * LOGIT_BYTES
    if training.accumulates:
        static += parts["gradients"]
    elif training.trained_weights is None:
        static += int(training.weight_bytes * shape.vocabulary * shape.hidden)
    return {"static_bytes": static, "bytes_per_token": training.activation_bytes(shape, checkpointed=False)}


def checkpoint_bytes(shape: Shape, training: Training, *, only_model: bool) -> int:
    """Size of one checkpoint on disk."""
    if training.trained_weights is not None:
        weights = training.trained_weights * 4
        return weights if only_model else int(weights + training.trained_weights * training.state_bytes)
    per_weight = training.weight_bytes + (0 if only_model else training.state_bytes)
    return int(shape.parameters * per_weight)
