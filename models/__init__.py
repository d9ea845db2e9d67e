"""The seed documents' networks, as tensor expressions and by hand. Looked up by name, lazily."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Factory = Callable[..., Any]
"""A class or function that makes a ``tinygrad_np.nn.Module``."""

MODELS: dict[str, str] = {
    "three_layer": "models.three_layer:ThreeLayer",
    "relu_sgd": "models.two_layer:ReluNetwork",
    "dropout_sgd": "models.two_layer:DropoutNetwork",
    "dropout_minibatch": "models.two_layer:DropoutNetwork",
    "tanh_softmax_minibatch": "models.two_layer:TanhNetwork",
}
"""Where each network is made: ``module:factory``, called as ``factory(rng=seed, dtype=dtype)``."""


def factory(name: str) -> Factory:
    """The function that makes the network called ``name``, or the one at ``module:factory``.

    Raises ValueError for a name that is neither, and for a module or factory that is not there.

    >>> factory("three_layer")(rng=0).W1.shape
    (784, 50)
    """
    path = MODELS.get(name, name)
    module, colon, function = path.partition(":")
    if not colon:
        raise ValueError(
            f"there is no model called {name!r}: choose one of {', '.join(MODELS)}, "
            "or name your own as module:factory"
        )
    try:
        found: Factory = getattr(importlib.import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"the model {path!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{path!r} is a {type(found).__name__}: a class or function is needed")
    return found
