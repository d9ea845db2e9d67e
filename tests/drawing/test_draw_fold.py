"""Big graphs made small: repeated blocks, scopes, a limit; and depth without recursion."""

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import nn
from tinygrad_np.drawing.fold import fold
from tinygrad_np.drawing.walk import Vertex, walk
from tinygrad_np.tensor import Tensor


class Block(nn.Module):
    def __init__(self) -> None:
        self.inner = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, x: Any) -> Any:
        return x + self.inner(tg.tanh(x))


class Tower(nn.Module):
    def __init__(self, depth: int) -> None:
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.blocks = [Block() for _ in range(depth)]

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def chain(length: int) -> Tensor:
    """``length`` times (matmul, tanh), each with a matrix of its own."""
    h: Any = tg.Tensor(np.ones((2, 4)), name="x")
    for i in range(length):
        h = tg.tanh(h @ Tensor(np.eye(4) / (i + 1), requires_grad=True, name=f"W{i}"))
    return tg.sum(h)


def folded(loss: Tensor, collapse: Any = True, max_nodes: int | None = None) -> list[Vertex]:
    return fold(walk(loss), collapse, max_nodes)[0]


def test_fifty_layers_fold_to_few() -> None:
    loss = chain(50)
    vertices, notes = fold(walk(loss), True, None)
    assert [v.title for v in vertices] == ["x", "W0", "matmul", "tanh", "sum"]
    assert [v.count for v in vertices] == [1, 50, 50, 50, 1]
    assert notes == ["block A × 50: 2 ops each"]
    source = tg.draw(loss).source
    assert "block A × 50" in source
    assert re.search(r'n2 -> n3 \[style="bold" dir="back"', source), "from each block to the next"
    assert "W0…49" in source
    assert len(re.findall(r"^\tn\d+ \[", source, re.M)) < 40
    assert len(tg.draw(loss, collapse=False, max_nodes=None).vertices) == len(walk(loss)) == 152


def test_a_folded_block_keeps_its_edges() -> None:
    x, w, matmul, tanh, total = folded(chain(50))
    assert [e.source for e in matmul.inputs] == [x, w, tanh], "tanh: from each block to the next"
    assert [e.source for e in tanh.inputs] == [matmul]
    assert [e.source for e in total.inputs] == [tanh]


def test_a_block_may_begin_with_something_computed() -> None:
    h: Any = tg.exp(Tensor(np.ones((2, 4)), requires_grad=True))
    for i in range(20):
        h = h + tg.tanh(h @ Tensor(np.eye(4), requires_grad=True, name=f"W{i}"))
    vertices = folded(tg.sum(h))
    assert [v.title for v in vertices] == ["parameter", "exp", "W0", "matmul", "tanh", "add", "sum"]
    assert [v.count for v in vertices] == [1, 1, 20, 20, 20, 20, 1]


def test_a_parameter_shared_by_blocks_is_drawn_once() -> None:
    w = Tensor(np.eye(4), requires_grad=True, name="W")
    h: Any = np.ones((2, 4))
    for _ in range(20):
        h = tg.tanh(h @ w)
    [shared] = [v for v in folded(tg.sum(h)) if v.kind == "parameter"]
    assert (shared.title, shared.count, shared.last) == ("W", 1, "")


def test_blocks_may_swap_their_parameters() -> None:
    a, b = (Tensor(np.eye(4), requires_grad=True, name=name) for name in "ab")
    h: Any = np.ones((2, 4))
    for _ in range(10):
        h = tg.tanh(h @ a @ b)
        a, b = b, a
    assert sorted(v.title for v in folded(tg.sum(h)) if v.kind == "parameter") == ["a", "b"]


def test_folding_keeps_the_totals() -> None:
    with tg.record():
        loss = chain(50)
        loss.backward()
    plain = walk(loss)
    kept = sum(v.kept for v in plain)
    vertices = folded(loss)
    assert sum(v.kept for v in vertices) == kept
    assert sum(v.count for v in vertices) == len(plain)
    assert sum(len(v.gradients) for v in vertices) == sum(len(v.gradients) for v in plain)


def test_a_nan_in_a_folded_block_is_still_red() -> None:
    h = Tensor(np.full((2, 2), 5.0), requires_grad=True)
    with tg.record(), np.errstate(all="ignore"):
        for _ in range(20):
            h = tg.log(h) * 1.0
        loss = tg.sum(h)
    vertices = folded(loss)
    assert [v.trouble for v in vertices if v.trouble] == ["first nan"]


def test_layers_of_other_sizes_do_not_fold() -> None:
    h: Any = np.ones((2, 3))
    for width in range(4, 24):
        h = tg.tanh(h @ Tensor(np.ones((h.shape[-1], width)), requires_grad=True))
    assert len(folded(tg.sum(h))) == len(walk(tg.sum(h)))


def test_short_sequences_stay_as_they_are() -> None:
    assert all(v.count == 1 for v in folded(chain(3)))


def test_modules_fold_by_name() -> None:
    net = Tower(12)
    with tg.record():
        loss = net(np.ones((2, 4), np.float32)).sum()
    vertices, notes = fold(walk(loss, net), True, None)
    assert notes == ["blocks.0 … blocks.11 × 12: 5 ops each"]
    [relu] = [v for v in vertices if v.title == "relu"]
    assert relu.scope == ("Tower", "blocks.0 … blocks.11 × 12", "inner", "1")
    assert "blocks.0…11.inner.0.weight" in tg.draw(loss, names=net).source


def test_blocks_within_blocks_fold() -> None:
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    h: Any = x
    for _ in range(10):
        for _ in range(8):
            h = tg.tanh(h)
        h = tg.exp(h) * 0.1
    vertices, notes = fold(walk(tg.sum(h)), True, None)
    assert len(notes) == 2
    assert len([v for v in vertices if v.is_op]) == 4
    [tanh] = [v for v in vertices if v.title == "tanh"]
    assert tanh.count == 80


def test_the_way_back_folds_too() -> None:
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    h: Any = x
    for _ in range(30):
        h = tg.tanh(h)
    slope = tg.grad(tg.sum(h), x, create_graph=True)
    vertices = folded(tg.sum(slope * slope))
    assert len(vertices) < 40
    assert any(v.backward and v.count > 20 for v in vertices)


# Scopes


def encoder() -> Tensor:
    x = Tensor([1.0, 2.0], name="x")
    w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    with tg.scope("encoder"):
        with tg.scope("inner"):
            h = tg.tanh(x * w)
        h = h + 1.0
    return tg.sum(h * h)


def test_scopes_are_clusters() -> None:
    source = tg.draw(encoder()).source
    outer, inner = source.index('label="encoder"'), source.index('label="inner"')
    assert outer < inner
    assert source.index('label=" tanh') > inner
    assert [v.scope for v in walk(encoder()) if v.is_op] == [
        ("encoder", "inner"), ("encoder", "inner"), ("encoder",), (), (),
    ]  # fmt: skip


def test_scopes_collapse_to_boxes() -> None:
    vertices = folded(encoder(), "encoder")
    assert [v.title for v in vertices] == ["x", "encoder\n3 ops", "multiply", "sum"]
    assert [e.source.title for e in vertices[1].inputs] == ["x"]
    assert [v.title for v in folded(encoder(), ["encoder/inner"])][1] == "inner\n2 ops"


def test_boxes_fold_too_and_keep_the_edge_to_the_next() -> None:
    h = Tensor([1.0, 2.0], requires_grad=True, name="x")
    for i in range(10):
        with tg.scope(f"layer{i}"), tg.scope("inner"):
            h = tg.tanh(tg.exp(h))
    first, box, _ = folded(tg.sum(h), "inner")  # x is in the first, which differs in that
    assert (box.title, box.count) == ("inner\n2 ops", 18)
    assert [edge.source for edge in box.inputs] == [first, box]


def test_an_edge_back_into_a_box_is_not_said_to_be_a_blocks() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with tg.scope("a"):
        h = tg.tanh(x)
    between = tg.exp(x)
    with tg.scope("a"):
        out = h * between
    source = tg.draw(tg.sum(out), collapse="a").source
    assert "bold edges: from one repeated block to the next, or back into a box" in source


def test_a_scope_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"no scope called 'decoder'.*\['encoder', 'enc"):
        tg.draw(encoder(), collapse="decoder")
    with pytest.raises(ValueError, match=r"none \(with tg\.scope\(name\)"):
        tg.draw(chain(2), collapse="encoder")


def test_a_cluster_around_one_op_is_part_of_its_name() -> None:
    x = Tensor([1.0], requires_grad=True)
    with tg.scope("gate"):
        h = tg.sigmoid(x)
    assert 'label=" gate · sigmoid' in tg.draw(tg.sum(h)).source


# The limit


@pytest.mark.parametrize("limit", [5, 20, 51])
def test_the_limit_holds_and_a_note_says_so(limit: int) -> None:
    loss = chain(60)
    vertices, notes = fold(walk(loss), False, limit)
    assert len(vertices) <= limit
    [box] = [v for v in vertices if v.kind == "left out"]
    assert notes == [f"more than {limit} nodes: {box.count} ops in the middle are not drawn"]
    assert f"{box.count} ops in the middle" in tg.draw(loss, collapse=False, max_nodes=limit).source
    drawn = sum(v.is_op and v is not box for v in vertices)
    assert drawn + box.count == sum(v.is_op for v in walk(loss))


def test_over_the_limit_scopes_go_first() -> None:
    net = Tower(3)
    with tg.record():
        loss = net(np.ones((2, 4), np.float32)).sum()
    vertices, notes = fold(walk(loss), False, 24)
    assert len(vertices) <= 24
    boxes = [v for v in vertices if v.kind == "collapsed scope"]
    assert {box.scope[-1] for box in boxes} == {"inner"}, "the innermost go first"
    assert notes == [f"more than 24 nodes: {len(boxes)} scopes drawn as boxes"]


@pytest.mark.slow
def test_depth_is_no_matter() -> None:
    h = Tensor(np.ones(2), requires_grad=True)
    for _ in range(100_000):
        h = -h
    assert len(tg.draw(h, collapse=False, show="shape").vertices) <= 200


def test_a_graph_of_20_000_ops_is_drawn_in_full() -> None:
    h = Tensor(np.ones(2), requires_grad=True)
    for _ in range(10_000):
        h = tg.tanh(-h)
    source = tg.draw(h, collapse=False, max_nodes=None).source
    assert source.count(" -> ") == 20_000
    assert len(re.findall(r"^\tn\d+ \[", source, re.M)) == 20_001
