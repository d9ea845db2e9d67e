"""``python -m tinygrad_np``: the version, what NumPy computes with, and what to try first."""

from . import __version__
from .config import show_config
from .tables import printable

TEXT = """
Documentation: docs/ in the repository (make docs builds the pages), and help(tg.Tensor).

To try:

    import numpy as np, tinygrad_np as tg
    W = tg.Tensor(np.ones((3, 2)), requires_grad=True, name="W")
    loss = tg.softmax_cross_entropy(np.ones((4, 3)) @ W, [0, 1, 1, 0])
    loss.backward()
    print(W.grad)
    tg.draw(loss).render("graph", format="svg")
"""

if __name__ == "__main__":
    print(f"tinygrad_np {__version__}: reverse-mode automatic differentiation on NumPy\n")
    show_config()
    print(printable(TEXT))
