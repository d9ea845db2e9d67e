"""The inputs on which layer functions are compared with PyTorch's, in ``models.layer_peers``.

Each function gets 20 or more: other shapes and settings, empty ones, large and small numbers, nan
and infinities.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Fixed:
    """An array that is not differentiated."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)


RNG = np.random.default_rng(0)


def N(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Any:
    return RNG.normal(size=shape) * scale + shift


def U(low: float, high: float, *shape: int) -> Any:
    return RNG.uniform(low, high, shape)


def ints(high: int, *shape: int) -> Any:
    return Fixed(RNG.integers(high, size=shape))


def signs(*shape: int) -> Any:
    return Fixed(RNG.choice([-1.0, 1.0], shape))


def call(*args: Any, **kwargs: Any) -> Call:
    return args, kwargs


# The inputs


SHAPES = [(3, 4), (5,), (), (2, 3, 4), (0, 3), (2, 1, 2, 3), (1, 1), (7, 2), (4, 0), (16, 5)]


def elementwise(**settings: Sequence[Any]) -> list[Call]:
    """Arrays of all kinds of shapes and sizes, with each setting in turn."""
    made = [
        call(N(*shape, scale=scale), **dict(zip(settings, chosen, strict=True)))
        for chosen in itertools.product(*settings.values())
        for shape in SHAPES
        for scale in (1.0, 5.0)
    ]
    edges = np.array([1e-30, -1e-30, 30.0, -30.0, 1e3, -1e3, 1e30, -1e30])
    made += [call(edges), call(np.array([0.0, -0.0])), call(np.array([np.inf, -np.inf, np.nan]))]
    return [*made, call(N(50, scale=100)), call(np.linspace(-6.05, 6.07, 99))]


def along(name: str, axes: Sequence[int] = (-1, 0)) -> list[Call]:
    """Arrays and an axis of theirs."""
    shapes = [
        (4, 6),
        (6, 4),
        (2, 4, 6),
        (8,),
        (2, 8, 2, 4),
        (1, 2),
        (0, 4),
        (40, 2),
        (4, 0),
        (2, 2),
    ]
    return [
        call(N(*shape, scale=scale), **{name: axis})
        for shape in shapes for axis in axes for scale in (1.0, 50.0)
        if shape[axis] % 2 == 0
    ]  # fmt: skip


def convolutions(axes: int, transposed: bool = False) -> list[Call]:
    sizes = (7, 6, 5)[:axes]
    settings: list[dict[str, Any]] = [
        {}, {"padding": 1}, {"stride": 2}, {"dilation": 2}, {"stride": 2, "padding": 1},
        {"stride": 3, "dilation": 2, "padding": 2}, {"groups": 2}, {"groups": 2, "padding": 1},
        {"padding": tuple(range(axes))}, {"stride": tuple(range(1, axes + 1))},
        {"dilation": tuple(range(1, axes + 1)), "padding": 1},
    ]  # fmt: skip
    if transposed:
        settings.append({"stride": 2, "output_padding": 1})
        settings.append({"dilation": 2, "output_padding": 1, "padding": 1})
    else:
        settings += [{"padding": "same"}, {"padding": "same", "dilation": 2}]
        settings.append({"padding": "valid", "stride": 2})
    calls = []
    for i, setting in enumerate(settings):
        for batch in ((3,), ()):
            groups, kernel = setting.get("groups", 1), ((3, 2, 3)[:axes], (2, 3, 1)[:axes])[i % 2]
            weight = N(4, 6 // groups, *kernel) if transposed else N(6, 4 // groups, *kernel)
            bias = N(6) if i % 3 else None
            calls.append(call(N(*batch, 4, *sizes), weight, bias, **setting))
    ones = (1,) * axes
    calls.append(call(N(2, 4, *sizes), N(4, 1, *(2,) * axes), N(4), groups=4))  # by channel
    calls.append(call(N(2, 4, *sizes), N(4, 4, *ones), N(4)))  # pointwise
    calls.append(call(N(0, 4, *sizes), N(4, 4, *ones), N(4)))
    calls.append(call(N(40, 2, *sizes), N(2, 2, *(3,) * axes), N(2)))  # several blocks
    calls.append(call(N(1, 2, *(n * 4 for n in sizes)), N(2, 2, *(3,) * axes), N(2), padding=1))
    calls.append(call(N(2, 2, *sizes, scale=1e8), N(2, 2, *(3,) * axes, scale=1e-8), None))
    calls.append(call(N(2, 2, *ones), N(2, 2, *(4,) * axes), None))  # does not fit
    return calls


def pools(axes: int, maximum: bool) -> list[Call]:
    sizes = (9, 8)[:axes]
    settings: list[dict[str, Any]] = [
        {}, {"stride": 1}, {"stride": 3}, {"padding": 1}, {"ceil_mode": True},
        {"stride": 2, "padding": 1, "ceil_mode": True}, {"stride": 1, "padding": 1},
        {"stride": 4, "ceil_mode": True},
    ]  # fmt: skip
    settings += (
        [{"dilation": 2}, {"dilation": 2, "stride": 2, "padding": 1, "ceil_mode": True}] if maximum
        else [{"count_include_pad": False, "padding": 1},
              {"count_include_pad": False, "padding": 1, "stride": 2, "ceil_mode": True}]
    )  # fmt: skip
    if axes == 2 and not maximum:
        settings += [{"divisor_override": 3}, {"divisor_override": 5, "padding": 1}]
    calls = [
        call(N(*batch, 2, *sizes), kernel, **setting)
        for setting in settings for kernel in (2, 3) for batch in ((3,), ())
    ]  # fmt: skip
    ties = RNG.integers(3, size=(2, 2, *sizes)).astype(float)
    wild = np.where(RNG.random((2, 2, *sizes)) < 0.1, np.inf, N(2, 2, *sizes))
    low = np.where(RNG.random((2, 2, *sizes)) < 0.6, -np.inf, N(2, 2, *sizes))
    for x in (ties, wild, low if maximum else ties, N(0, 2, *sizes), N(2, 2, *sizes, scale=1e200)):
        calls += [call(x, 3), call(x, 3, 2, 1)]
    if axes == 2:
        calls.append(call(N(2, 1, 6, 7), (2, 3), (1, 2), (1, 0)))
    return [*calls, call(N(1, 1, *(2,) * axes), 5)]


def adaptive(axes: int) -> list[Call]:
    sizes = (7, 6)[:axes]
    outs: list[Any] = [1, 2, 3, 5, 7, 9]
    outs += [(2, 3), (None, 4), (6, 1)] if axes == 2 else [(4,), 6, 10]
    return [
        call(N(*batch, 2, *sizes, scale=scale), out)
        for out in outs for batch, scale in (((3,), 1.0), ((), 1.0), ((1,), 1e100))
    ]  # fmt: skip


def normalized(weights: bool = True, bias: bool = True) -> list[Call]:
    """For layer_norm and rms_norm: x, the last axes, weight, bias."""
    calls = []
    for shape, last in [((3, 4), (4,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((5,), (5,)),
                        ((0, 4), (4,)), ((3, 1), (1,))]:  # fmt: skip
        for scale in (1.0, 1e3):
            for kind in range(3):
                more = [N(*last) if kind else None] + ([N(*last) if kind == 2 else None] * bias)
                calls.append(call(N(*shape, scale=scale, shift=scale), last, *more))
    calls.append(call(np.ones((3, 4)), (4,)))
    calls.append(call(N(3, 4), (4,), eps=0.1))
    return calls


def features(shapes: Sequence[tuple[int, ...]], *front: Any) -> Iterator[tuple[Any, ...]]:
    for shape in shapes:
        for weight, bias in itertools.product((True, False), repeat=2):
            count = shape[1]
            yield (
                N(*shape, shift=2),
                *front,
                N(count) if weight else None,
                (N(count) if bias else None),
            )


IMAGES = [(4, 3), (2, 3, 5), (2, 3, 2, 3), (1, 3, 4), (6, 2, 1), (3, 4, 2, 2, 2)]
BATCHES = [
    *[call(x, Fixed(N(x.shape[1])), Fixed(U(0.5, 2, x.shape[1])), *rest, training=training,
           momentum=momentum, eps=eps)
      for x, *rest in features(IMAGES)
      for training, momentum, eps in ((True, 0.1, 1e-5), (False, 0.1, 0.1), (True, 0.7, 1e-3))],
    call(np.ones((3, 2)), None, None, training=True), call(N(1, 2), None, None, training=True),
    call(N(1, 2), Fixed(N(2)), Fixed(U(1, 2, 2))), call(N(0, 2, 3), Fixed(N(2)), Fixed(U(1, 2, 2))),
]  # fmt: skip
INSTANCES = [
    *[call(x, None, None, *rest) for x, *rest in features([s for s in IMAGES if len(s) > 2])],
    *[call(x, Fixed(N(x.shape[1])), Fixed(U(0.5, 2, x.shape[1])), *rest, use_input_stats=use)
      for x, *rest in features([(2, 3, 5), (2, 3, 2, 3)]) for use in (True, False)],
    call(N(2, 3, 1)), call(np.ones((2, 3, 4))),
]  # fmt: skip
GROUPS = [
    *[call(x, groups, *rest)
      for groups, shapes in (
          (2, [(3, 4), (2, 4, 3), (1, 2, 2, 2)]), (1, [(2, 3, 2)]), (3, [(2, 3, 4)]))
      for x, *rest in features(shapes)],
    call(N(2, 3), 2), call(np.ones((2, 4, 2)), 2), call(N(0, 4, 2), 2),
    call(N(3, 4, 2, scale=1e4), 4),
]  # fmt: skip


def embeddings() -> list[Call]:
    calls = [
        call(ints(rows, *shape), N(rows, width), padding_idx=padding)
        for rows, width in ((5, 3), (3, 1), (7, 4))
        for shape in ((4,), (2, 3), (), (0, 2))
        for padding in (None, 1, -1)
    ]
    return [*calls, call(Fixed([0, 5]), N(5, 2)), call(Fixed([-1]), N(5, 2))]


def attention() -> list[Call]:
    calls = []
    for front in ((), (2,), (2, 3)):
        for length, keys, width in ((3, 3, 4), (2, 5, 3), (1, 1, 1), (4, 2, 2)):
            q, k, v = N(*front, length, width), N(*front, keys, width), N(*front, keys, width)
            mask = RNG.random((length, keys)) < 0.6
            calls += [
                call(q, k, v), call(q, k, v, is_causal=True), call(q, k, v, Fixed(mask)),
                call(q, k, v, N(length, keys)), call(q * 30, k, v, scale=0.7),
                call(q, k, v, Fixed(np.zeros((length, keys), bool))),
                call(q, k, v, Fixed(np.where(mask, 0.0, -np.inf))),
            ]  # fmt: skip
    calls.append(call(N(2, 4, 3, 2), N(2, 2, 5, 2), N(2, 2, 5, 2), enable_gqa=True))
    return calls


def multihead() -> list[Call]:
    calls = []
    for batch, (length, keys), heads in itertools.product((2, None), ((3, 3), (2, 4)), (1, 2)):
        sizes = [(n, 4) if batch is None else (n, batch, 4) for n in (length, keys, keys)]
        inputs = [N(*size) for size in sizes]
        weights = [N(12, 4), N(12), N(4, 4), N(4)]
        padding = RNG.random((batch or 1, keys)) < 0.3
        padding[:, 0] = False
        for mask, hidden in itertools.product(
            (None, Fixed(np.triu(np.ones((length, keys), bool), 1)), N(length, keys)), (False, True)
        ):
            pad = Fixed(padding if batch else padding[0]) if hidden else None
            calls.append(call(*inputs, *weights, heads=heads, mask=mask, padding=pad))
    return calls


REDUCTIONS = ("mean", "sum", "none")


def pairs(
    first: Callable[..., Any] = N, second: Callable[..., Any] = N, **settings: Sequence[Any]
) -> list[Call]:
    settings = {"reduction": REDUCTIONS, **settings}
    return [
        call(first(*shape), second(*shape), **dict(zip(settings, chosen, strict=True)))
        for chosen in itertools.product(*settings.values())
        for shape in ((3, 4), (5,), (), (2, 3, 2), (0, 3), (1, 1), (40,))
    ]


def wide(*shape: int) -> Any:
    return N(*shape, scale=20)


def inside(*shape: int) -> Any:
    return U(0.001, 0.999, *shape)


def classes(log: bool = False) -> list[Call]:
    calls = []
    for shape in ((3, 4), (4,), (2, 3, 5), (2, 3, 4, 2), (40, 3), (1, 1)):
        axis = min(1, len(shape) - 1)
        count, rest = shape[axis], shape[:axis] + shape[axis + 1 :]
        for reduction in REDUCTIONS:
            for weight in (None, Fixed(U(0.5, 2, count))):
                x = N(*shape, scale=3)
                labels = RNG.integers(count, size=rest)
                some = np.where(RNG.random(rest) < 0.4, -100, labels)
                calls.append(call(x, Fixed(labels), weight, reduction=reduction))
                calls.append(call(x, Fixed(some), weight, reduction=reduction))
                calls.append(call(x, Fixed(labels), weight, ignore_index=0, reduction=reduction))
                if not log:
                    for smooth in (0.0, 0.1):
                        calls.append(
                            call(
                                x, Fixed(some), weight, reduction=reduction, label_smoothing=smooth
                            )
                        )
                        soft = RNG.dirichlet(np.ones(count), rest)
                        soft = np.moveaxis(soft, -1, axis)
                        calls.append(
                            call(x, soft, weight, reduction=reduction, label_smoothing=smooth)
                        )
    calls.append(call(N(2, 3), Fixed([0, 3])))
    calls.append(call(N(2, 3, scale=1e3), Fixed([0, 2])))
    return calls


def with_weights() -> list[Call]:
    calls = []
    for (args, kwargs), kind in itertools.product(pairs(wide, inside), range(4)):
        shape = np.shape(args[0])
        more = {"weight": Fixed(U(0.5, 2, *shape))} if kind % 2 else {}
        more |= {"pos_weight": Fixed(U(0.5, 2, *shape[-1:]))} if kind > 1 else {}
        calls.append((args, {**kwargs, **more}))
    return calls


def resolutions() -> list[Call]:
    calls = []
    for shape, modes in (
        ((2, 3, 4), ("nearest", "linear")), ((1, 2, 3, 4), ("nearest", "bilinear")),
        ((1, 1, 2, 3, 2), ("nearest", "trilinear")),
    ):  # fmt: skip
        for mode in modes:
            corners: list[dict[str, Any]] = (
                [{}] if mode == "nearest" else [{"align_corners": c} for c in (True, False)]
            )
            sizes: list[dict[str, Any]] = [{"size": n} for n in (1, 2, 5)]
            for how in (*sizes, *[{"scale_factor": factor} for factor in (2, 1.7, 0.6)]):
                calls += [call(N(*shape), mode=mode, **how, **corner) for corner in corners]
    return calls


def vectors(**settings: Sequence[Any]) -> list[Call]:
    shapes = [((3, 4), (3, 4)), ((2, 3, 4), (2, 3, 4)), ((3, 4), (1, 4)), ((5, 3), (5, 3))]
    calls = [
        call(N(*a, scale=scale), N(*b, scale=scale), **dict(zip(settings, chosen, strict=True)))
        for chosen in itertools.product(*settings.values())
        for a, b in shapes for scale in (1.0, 1e3, 1e-3)
    ]  # fmt: skip
    return calls


UNARY: dict[str, dict[str, Sequence[Any]]] = {
    "gelu": {"approximate": ("none", "tanh")},
    "hardtanh": {"min_val": (-1.0, -0.3), "max_val": (0.7, 2.0)},
    "hardsigmoid": {}, "hardswish": {}, "hardshrink": {"lambd": (0.5, 0.1)},
    "softshrink": {"lambd": (0.5, 0.1)}, "tanhshrink": {}, "softsign": {}, "selu": {},
    "celu": {"alpha": (1.0, 0.3)}, "mish": {}, "relu6": {}, "relu": {},
    "elu": {"alpha": (1.0, 0.5)},
    "leaky_relu": {"negative_slope": (0.01, 0.3)}, "silu": {},
    "threshold": {"threshold": (0.1, -0.5), "value": (2.0,)},
    "softplus": {"beta": (1.0, 2.0), "threshold": (20.0, 3.0)},
}  # fmt: skip
CALLS: dict[str, list[Call]] = {name: elementwise(**s) for name, s in UNARY.items()}
CALLS["threshold"] = [c for c in CALLS["threshold"] if c[1]]
CALLS |= {
    "log_sigmoid": elementwise(), "erf": elementwise(), "sigmoid": elementwise(),
    "softmax": along("axis"), "log_softmax": along("axis"), "softmin": along("axis"),
    "logsumexp": along("axis"), "glu": along("axis"),
    "prelu": [call(N(*shape), N(*w)) for shape, w in [
        ((3, 4), (1,)), ((3, 4), (4,)), ((2, 3, 4), (3,)), ((2, 3, 2, 2), (3,)), ((5,), (1,)),
        ((0, 3), (3,)), ((), (1,))] for _ in range(3)],
    "conv1d": convolutions(1), "conv2d": convolutions(2), "conv3d": convolutions(3),
    "conv_transpose1d": convolutions(1, True), "conv_transpose2d": convolutions(2, True),
    "unfold": [
        call(N(*batch, 2, 6, 7), kernel, dilation, padding, stride)
        for batch in ((2,), ()) for kernel, dilation, padding, stride in (
            (2, 1, 0, 1), ((2, 3), 1, 1, 2), (3, 2, 2, 1), ((1, 2), (2, 1), (0, 1), (1, 3)),
            (6, 1, 0, 1), (2, 3, 1, 2), (1, 1, 0, 1), (3, 1, 0, 3), (2, 1, 3, 1), (9, 1, 0, 1))],
    "fold": [
        call(N(*batch, 12, count), (4, 5), (2, 3), dilation, padding, stride)
        for batch in ((2,), (), (3,), (1,), (0,)) for count, dilation, padding, stride in (
            (9, 1, 0, 1), (25, 1, 1, 1), (4, 1, 0, 2), (2, (2, 2), 0, 1))],
    "max_pool1d": pools(1, True), "max_pool2d": pools(2, True),
    "avg_pool1d": pools(1, False), "avg_pool2d": pools(2, False),
    "adaptive_avg_pool1d": adaptive(1), "adaptive_avg_pool2d": adaptive(2),
    "batch_norm": BATCHES, "instance_norm": INSTANCES, "group_norm": GROUPS,
    "layer_norm": normalized(), "rms_norm": normalized(bias=False),
    "normalize": [call(N(*shape, scale=scale), p, axis)
                  for shape, axis in (((3, 4), 1), ((3, 4), 0), ((2, 3, 4), -1))
                  for p in (2.0, 1.0, 3.0) for scale in (1.0, 1e3, 1e-3)],
    "embedding": embeddings(),
    "one_hot": [
        *[call(ints(4, *shape), 4) for shape in ((3,), (2, 3), (), (0, 2), (5,)) for _ in range(3)],
        *[call(ints(3, 4)) for _ in range(5)], call(Fixed([0, 4]), 3), call(Fixed([-1, 0]), 3)],
    "scaled_dot_product_attention": attention(), "MultiheadAttention": multihead(),
    "cross_entropy": classes(), "nll_loss": classes(log=True),
    "l1_loss": pairs(), "mse_loss": pairs(), "huber_loss": pairs(N, wide, delta=(1.0, 0.3)),
    "smooth_l1_loss": pairs(N, wide, beta=(1.0, 0.3, 0.0)),
    "kl_div": pairs(N, inside)
    + pairs(N, N, log_target=(True,), reduction=(*REDUCTIONS, "batchmean")),
    "binary_cross_entropy": [
        # At 0 and 1 PyTorch's gradient is 0 where the target is met; the true one is 1 or -1.
        *pairs(inside, inside), call(np.array([0.02, 0.98, 0.5]), Fixed([0.0, 1.0, 1.0])),
        call(N(3), inside(3)), call(inside(3), inside(3), Fixed(U(1, 2, 3)))],
    "binary_cross_entropy_with_logits": with_weights(),
    "hinge_embedding_loss": pairs(N, signs, margin=(1.0, 0.3)),
    "margin_ranking_loss": [
        ((a, N(*np.shape(a)), b), k) for (a, b), k in pairs(N, signs, margin=(0.0, 0.3))],
    "soft_margin_loss": pairs(wide, signs),
    "poisson_nll_loss": pairs(N, lambda *s: Fixed(U(0.2, 5, *s)), full=(True, False))
    + pairs(lambda *s: U(0.1, 3, *s), lambda *s: Fixed(U(0.2, 5, *s)), log_input=(False,)),
    "cosine_similarity": vectors(axis=(1, 0, -1)),
    "pairwise_distance": vectors(p=(2.0, 1.0, 3.0), keepdims=(False, True)),
    "bilinear": [call(N(*f, 2), N(*f, 3), N(4, 2, 3), N(4) if b else None)
                 for f in ((3,), (2, 3), (), (0,), (1,)) for b in (True, False) for _ in range(2)],
    "pixel_shuffle": [
        call(N(*f, c * r * r, 2, 3), r)
        for f in ((), (2,), (2, 2), (1,)) for c in (1, 2, 3) for r in (2, 3)],
    "pixel_unshuffle": [
        call(N(*f, c, 6, 12), r)
        for f in ((), (2,), (2, 2), (1,)) for c in (1, 2, 3) for r in (2, 3)],
    "upsample": resolutions(),
    "dropout": [
        call(N(*shape), p, training)
        for shape in ((3, 4), (5,), ()) for p, training in (
            (0.0, True), (1.0, True), (0.5, False), (0.0, False), (1.0, False), (1.5, True),
            (-0.1, True))],
    "dropout2d": [call(N(*shape), p, training) for shape in ((3, 4, 2), (1, 2, 3, 3), (0, 2, 2, 2))
                  for p, training in ((0.0, True), (1.0, True), (0.5, False), (0.0, False),
                                      (1.0, False), (1.5, True), (-0.1, True))],
}  # fmt: skip
