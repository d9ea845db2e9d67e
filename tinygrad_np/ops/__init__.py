"""The ops: rules only, a file per family. ``tinygrad_np.OPS`` lists them all."""

from . import activation, constant, elementwise, indexing, layer, linalg, loss, reduction, shape

__all__ = [
    "activation", "constant", "elementwise", "indexing", "layer", "linalg", "loss", "reduction",
    "shape",
]  # fmt: skip
