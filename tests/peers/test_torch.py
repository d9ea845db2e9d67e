"""Every layer function compared with PyTorch's: values, gradients, second derivatives.

It runs where PyTorch is installed (the extra "peers").
"""

import pytest

from models.layer_inputs import CALLS

pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[peers]'")


@pytest.mark.parametrize("name", CALLS)
def test_a_function_agrees_with_torchs(name: str) -> None:
    from models.layer_peers import worst, wrong

    mistakes = wrong(name, worst(name))
    assert not mistakes, "\n".join(mistakes)
