"""The commonest slips: each error shows what to write, and what it shows runs.

``SLIPS`` is the table of docs/faq.md, too.
"""

import ast
import string
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import hints, messages


class Slip(NamedTuple):
    """Wrong code, what is raised (or warned), words of the message, and the right code."""

    wrong: str
    error: type[Exception]
    message: str
    right: str


SETUP = """
x = tg.Tensor(np.ones((2, 3)), requires_grad=True, name="x")
W = tg.Tensor(np.ones((3, 2)), requires_grad=True, name="W")
logits, labels = tg.Tensor(np.zeros((2, 3))), np.array([0, 2])
batch = np.ones((2, 3), np.float32)
w = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
model = tg.nn.Linear(3, 2, rng=0)
layers = [tg.nn.Linear(3, 2, rng=0), tg.nn.ReLU()]
def f(x): return (x * x).sum()
"""

SLIPS = [
    Slip("x.sum(dim=0)", TypeError, "write axis=0", "x.sum(axis=0)"),
    Slip("tg.softmax(x, dim=1)", TypeError, "write axis=1", "tg.softmax(x, axis=1)"),
    Slip("tg.normalize(x, dim=1)", TypeError, "write axis=1", "tg.normalize(x, axis=1)"),
    Slip("x.mean(1, keepdim=True)", TypeError, "write keepdims=True", "x.mean(1, keepdims=True)"),
    Slip("x.view(3, 2)", AttributeError, r"write x.reshape\(2, 3\)", "x.reshape(3, 2)"),
    Slip("x.cpu()", AttributeError, "leave it out", "x"),
    Slip("x.unsqueeze(0)", AttributeError, r"write tg.expand_dims\(x, 0\)", "tg.expand_dims(x, 0)"),
    Slip("tg.cat([x, x])", AttributeError, "write tg.concatenate", "tg.concatenate([x, x])"),
    Slip("tg.from_numpy(batch)", AttributeError, r"write tg.Tensor\(array", "tg.Tensor(batch)"),
    Slip("tg.nn.functional.relu(x)", AttributeError, r"write tg.relu\(x\)", "tg.relu(x)"),
    Slip("tg.nn.Parameter(batch)", AttributeError, "requires_grad=True",
         "tg.Tensor(batch, requires_grad=True)"),
    Slip("tg.optim.SGD(model, 0.1)", TypeError, r"write SGD\(model.parameters\(\)",
         "tg.optim.SGD(model.parameters(), 0.1)"),
    Slip("tg.optim.SGD(W, 0.1)", TypeError, r"write SGD\(\[W\]", "tg.optim.SGD([W], 0.1)"),
    Slip("tg.grad(f)(x)", TypeError, r"write y = f\(x\)", "tg.grad(f(x), x)"),
    Slip("tg.grad(f(x))", TypeError, r"write tg.grad\(loss, \[w, b\]\)", "tg.grad(f(x), [x])"),
    Slip("tg.save('model.safetensors', model)", TypeError, r"write tg.save\(state, path\)",
         "tg.save(model, path / 'model.safetensors')"),
    Slip("tg.nn.Sequential(layers)", TypeError, r"write nn.Sequential\(\*layers\)",
         "tg.nn.Sequential(*layers)"),
    Slip("tg.nn.Sequential(tg.nn.ReLU(), tg.nn.Linear(5, 2))(batch)", ValueError,
         "must give 5, or this one must take 3",
         "tg.nn.Sequential(tg.nn.ReLU(), tg.nn.Linear(3, 2))(batch)"),
    Slip("model(batch.T)", ValueError, r"write x\.T", "model(batch)"),
    Slip("model(np.ones((2, 3)))", UserWarning, r"Write x.astype\(np.float32\)",
         "model(np.ones((2, 3)).astype(np.float32))"),
    Slip("(x * 2).grad", RuntimeError, r"write tg.grad\(loss, tensor\)",
         "h = x * 2; tg.grad(f(h), h)"),
    Slip("tg.draw(model)", TypeError, r"tg.draw\(model\(x\)", "tg.draw(model(batch), names=model)"),
    Slip("tg.softmax_cross_entropy(logits, np.array([[0], [2]]))", ValueError,
         r"integer class numbers of shape \(2,\), or one-hot rows of shape \(2, 3\)",
         "tg.softmax_cross_entropy(logits, labels)"),
    Slip("tg.mse_loss(np.ones((5, 1)), np.ones(5))", ValueError, "reshape one of them",
         "tg.mse_loss(np.ones((5, 1)).reshape(5), np.ones(5))"),
    Slip("tg.audit(lambda x: x * x, batch, 2 * batch)", ValueError, r"\(f\(x\) \* w\).sum\(\)",
         "tg.audit(lambda x: (x * x * w).sum(), batch, 2 * batch * w)"),
    Slip("tg.gradcheck(lambda x: x * x, batch)", ValueError, "weights='random'",
         "tg.gradcheck(lambda x: x * x, batch, weights='random')"),
    Slip("x -= 0.1 * x.data", TypeError, "write x.data -=", "x.data -= 0.1 * x.data"),
    Slip("x.backward()", ValueError, r"y.sum\(\).backward\(\)", "x.sum().backward()"),
    Slip("y = f(x); y.backward(); y.backward()", tg.GraphReleasedError, "retain_graph=True",
         "y = f(x); y.backward(retain_graph=True); y.backward()"),
    Slip("import math; math.cos(x[0, 0])", TypeError, r"tg.cos\(t\)", "tg.cos(x[0, 0])"),
    Slip("np.array([x, x])", TypeError, "use tg.stack", "tg.stack([x, x])"),
    Slip("x[0] = 1.0", TypeError, r"tensor.data\[index\] = value", "x.data[0] = 1.0"),
    Slip("tg.Tensor([1, 2], requires_grad=True)", TypeError, "dtype=np.float32",
         "tg.Tensor([1, 2], dtype=np.float32, requires_grad=True)"),
]  # fmt: skip


def names(tmp_path: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {"tg": tg, "np": np, "path": tmp_path}
    exec(SETUP, scope)
    return scope


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.wrong)
def test_a_slip_is_told_what_to_write(slip: Slip, tmp_path: Any) -> None:
    if issubclass(slip.error, Warning):
        with pytest.warns(slip.error, match=slip.message):
            exec(slip.wrong, names(tmp_path))
        return
    with pytest.raises(slip.error, match=slip.message):
        exec(slip.wrong, names(tmp_path))


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.right)
def test_what_the_error_shows_runs(slip: Slip, tmp_path: Any) -> None:
    exec(slip.right, names(tmp_path))


def test_an_error_names_the_layer_it_arose_in() -> None:
    nn = tg.nn
    inner = nn.Sequential(nn.ReLU(), nn.Linear(5, 2))
    net = nn.Sequential(nn.Linear(3, 4), inner)
    with pytest.raises(ValueError, match="4 features") as caught:
        net(np.ones((2, 3), np.float32))
    assert caught.value.__notes__ == ["in Linear(5, 2) (layer '1.1' of Sequential)"]


def test_a_layer_that_cannot_describe_itself_hides_no_error() -> None:
    class Broken(tg.nn.Linear):
        def extra_repr(self) -> str:
            raise KeyError("sizes")

    with pytest.raises(ValueError, match="4 features"):
        Broken(3, 2)(np.ones((2, 4), np.float32))


def test_forgetting_zero_grad_is_noticed_in_debug_mode() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    optimizer = tg.optim.SGD([w], 0.1)
    with tg.debug():
        for _ in range(2):  # two batches make one gradient: no slip
            (w * w).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        with pytest.warns(UserWarning, match=r"leaf 'w' was updated.*zero_grad") as caught:
            (w * w).sum().backward()
    assert caught[0].filename == __file__


def test_float64_data_is_told_at_the_line_that_gives_it() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tg.nn.Linear(3, 2)(np.ones((2, 3)))
        tg.nn.Conv2d(1, 2, 3)(np.ones((1, 1, 5, 5)))
        tg.nn.Linear(3, 2, dtype=np.float64)(np.ones((2, 3)))
        tg.nn.Linear(3, 2)([[1.0, 2.0, 3.0]])
    assert [warning.filename for warning in caught] == [__file__, __file__]


def test_every_word_of_the_tables_has_advice() -> None:
    x = tg.Tensor([1.0])
    for word in {*hints.ATTRIBUTES, "cpu", "is_cuda"}:
        with pytest.raises(AttributeError, match="write|leave it out") as caught:
            getattr(x, word)
        assert caught.value.name == word
    for word in hints.NAMES:
        for module in (tg, tg.nn):
            if not hasattr(module, word):
                with pytest.raises(AttributeError, match="write"):
                    getattr(module, word)


def test_unknown_names_and_arguments_have_plain_errors() -> None:
    with pytest.raises(AttributeError, match=r"^a Tensor has no attribute 'nothing'$"):
        tg.Tensor(1.0).nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"^module 'tinygrad_np' has no attribute 'nothing'$"):
        tg.nothing  # noqa: B018
    with pytest.raises(TypeError, match=r"^sum\(\) takes no argument 'nothing' \(the arguments"):
        tg.sum([1.0], nothing=1)


# Messages: a table of texts, whose fields are filled where errors are raised


def test_every_message_is_used_and_gets_the_fields_that_it_names() -> None:
    used, filled = set(), {}
    for path in Path(tg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Attribute(value=ast.Name(id="messages"), attr=name), attr="format"
                    )
                ):
                    filled[name] = {keyword.arg for keyword in node.keywords}
                case ast.Attribute(value=ast.Name(id="messages"), attr=name):
                    used.add(name)
    texts = {name: text for name, text in vars(messages).items() if name.isupper()}
    assert texts.keys() <= used
    for name, fields in filled.items():
        named = [field for _, field, _, _ in string.Formatter().parse(texts[name]) if field]
        assert {field.partition(".")[0] for field in named} == fields, name
    # These two are chosen before they are filled.
    assert filled.keys() >= {n for n, text in texts.items() if "{" in text} - {
        "NO_GRAPH", "NO_GRADIENTS",
    }  # fmt: skip
