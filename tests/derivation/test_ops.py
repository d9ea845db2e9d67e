"""Every op: its derivation, executed, gives what ``backward`` gives."""

from typing import Any

import numpy as np

import tinygrad_np as tg
from tests.registry import drawn, every_case, listed, weights_for
from tinygrad_np.definition import Case, Op


def run(source: str, inputs: dict[str, Any]) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace["loss_and_gradients"](**inputs)


def assert_near(found: Any, true: Any, what: str) -> None:
    scale = np.abs(true).max(initial=0)
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-12 * max(scale, 1e-300), err_msg=what)
    assert np.shape(found) == np.shape(true)


@every_case()
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
    derived = tg.derivation(loss)
    value, gradients = run(derived.numpy(), derived.inputs)
    assert_near(value, loss.data, "loss")
    for i in smooth:
        if f"p{i}" in gradients:
            assert_near(gradients[f"p{i}"], tensors[i].grad, f"p{i}")
        else:
            assert tensors[i].grad is None
    assert "tinygrad" not in derived.numpy()
