"""Networks as tensor expressions and by hand: the seed documents' and others, looked up by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_np.nn import Module

Factory = Callable[..., Any]
"""A class or function that makes a ``tinygrad_np.nn.Module``."""

MODELS: dict[str, str] = {
    "three_layer": "models.three_layer:ThreeLayer",
    "three_layer_relu": "models.three_layer_relu:three_layer_relu",
    "lenet": "models.lenet:LeNet",
    "relu_sgd": "models.two_layer:ReluNetwork",
    "dropout_sgd": "models.two_layer:DropoutNetwork",
    "dropout_minibatch": "models.two_layer:DropoutNetwork",
    "tanh_softmax_minibatch": "models.two_layer:TanhNetwork",
    "gpt": "models.gpt:GPT",
}
"""Where each network is made: ``module:factory``, called as ``factory(rng=seed, dtype=dtype)``."""
HELP = f"the network: {', '.join(MODELS)}, or your own as module:factory"
"""The help text of the commands' argument."""
DATA = {"gpt": "alice"}
"""The data set of each network that is not trained on MNIST."""


def factory(name: str) -> Factory:
    """The function that makes the network called ``name``, or the one at ``module:factory``.

    Raises ValueError for a name that is neither, and for a module or factory that is not there.

    >>> factory("three_layer")(rng=0).W1.shape
    (784, 50)
    """
    path = MODELS.get(name, name)
    module, colon, function = path.partition(":")
    if not colon or not module or module.startswith("."):
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


def make(
    name: str, rng: np.random.Generator, dtype: DTypeLike | None = np.float32, **sizes: int
) -> Module:
    """The network called ``name``.

    ``rng``, ``dtype`` and ``sizes`` are passed on as far as its factory takes them. With
    ``dtype=None`` it keeps its own. Raises ValueError where there is no such network, where
    the factory returns no Module, or where its parameters are not of this dtype.
    """
    made = factory(name)
    takes = inspect.signature(made).parameters
    given: dict[str, Any] = {"rng": rng, **sizes}
    if dtype is not None:
        given["dtype"] = np.dtype(dtype)
    model = made(**{key: value for key, value in given.items() if key in takes})
    if not isinstance(model, Module):
        raise ValueError(f"{name} made a {type(model).__name__}, not a tinygrad_np.nn.Module")
    found = {parameter.dtype for parameter in model.parameters()}
    if dtype is not None and found != {given["dtype"]}:
        told = " and ".join(sorted(map(str, found))) or "no dtype: it has none at all"
        raise ValueError(f"{name} has parameters of {told}; asked for was {given['dtype']}")
    return model
