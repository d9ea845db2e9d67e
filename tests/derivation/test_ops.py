"""Every op: its derivation, executed, gives what ``backward`` gives."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.test_compile_ops import drawn
from tests.registry import CALLS, listed, weights_for
from tinygrad_np.cases import Case
from tinygrad_np.definition import Op

NOT_WRITTEN = {
    "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "convolution_input",
    "convolution_weight", "erf", "fold", "gelu", "max_pool1d", "max_pool2d", "max_pooling",
    "normal_cdf", "threshold", "unfold", "window_place", "window_spread", "window_sum",
    "windows_folded", "windows_unfolded",
}  # fmt: skip
"""Ops whose forward functions are no plain NumPy, or that keep too little: an error says so."""


def derivation_of(op: Op, loss: Any) -> Any:
    """The derivation; None for an op that cannot be written yet."""
    try:
        return tg.derivation(loss)
    except tg.DerivationError:
        if op.name not in NOT_WRITTEN:
            raise
        return None


def run(source: str, inputs: dict[str, Any]) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace["loss_and_gradients"](**inputs)


def assert_near(found: Any, true: Any, what: str) -> None:
    scale = np.abs(true).max(initial=0)
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-12 * max(scale, 1e-300), err_msg=what)
    assert np.shape(found) == np.shape(true)


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_derivation_executed_is_backward(op: Op, case: Case) -> None:
    arrays, call = drawn(case, 0, np.float64)
    smooth = [i for i, (_, flag) in enumerate(arrays) if flag]
    tensors: list[Any] = [
        tg.Tensor(value, requires_grad=True, name=f"p{i}") if i in smooth else value
        for i, (value, _) in enumerate(arrays)
    ]
    with tg.record():
        outs = [out for out in listed(call(op, tensors)) if out.requires_grad]
        if not outs:
            return
        loss = sum([(out * w).sum() for out, w in zip(outs, weights_for(outs), strict=True)])
        loss.backward()
    derived = derivation_of(op, loss)
    if derived is None:
        return
    value, gradients = run(derived.numpy(), derived.inputs)
    assert_near(value, loss.data, "loss")
    for i in smooth:
        if f"p{i}" in gradients:
            assert_near(gradients[f"p{i}"], tensors[i].grad, f"p{i}")
        else:
            assert tensors[i].grad is None
    assert "tinygrad" not in derived.numpy()
