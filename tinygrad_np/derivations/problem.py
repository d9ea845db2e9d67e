"""The error of derivations."""


class DerivationError(ValueError):
    """A graph that cannot be written out as plain NumPy; the message says why, and what to do.

    >>> import numpy as np, tinygrad_np as tg
    >>> W = tg.Tensor([[1.0], [2.0]], requires_grad=True, name="W")
    >>> derived = tg.derivation(lambda x: tg.tanh(x @ W).sum(), np.eye(2))
    >>> derived.compare({"V": np.ones((2, 1))})
    Traceback (most recent call last):
    ...
    tinygrad_np.derivations.problem.DerivationError: there is no parameter 'V': gradients are by W
    """
