"""Gradients that people derived by hand and published: right ones, and wrong ones as they stood.

Each case restates a formula from a public repository, issue, notebook or course (its source is the
first argument of ``case``) and says which kind of mistake is in each gradient; "" is a right one.
Several kinds with | between them are all fair names of the same mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg

Make = Callable[[], Any]


class Case(NamedTuple):
    """A case: where it was published, the kinds, a word that the report must contain."""

    source: str
    kinds: dict[str, str]
    says: str
    make: Make


CASES: list[Case] = []


def case(source: str, says: str = "", **kinds: str) -> Callable[[Make], Make]:
    """Register what makes the arguments of ``audit``, or a report."""

    def add(make: Make) -> Make:
        CASES.append(Case(source, kinds, says, make))
        return make

    return add


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([*shape, seed]).normal(size=shape)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def softmax(z: Any, axis: int = -1) -> Any:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def one_hot(labels: Any, k: int) -> Any:
    return np.eye(k)[labels]


# Factors


@case("bighuang624/Andrew-Ng-Deep-Learning-notes #10", "4", W3="", b3="", W2="factor", b2="",
      W1="", b1="factor")  # fmt: skip
def coursera_gradient_checking() -> Any:
    m, x, y = 3, normal(4, 3), np.array([[1.0, 1, 0]])
    p = {"W1": normal(5, 4), "b1": normal(5, 1), "W2": normal(3, 5), "b2": normal(3, 1)}
    p |= {"W3": normal(1, 3), "b3": normal(1, 1)}

    def f(W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any) -> Any:
        a = tg.sigmoid(W3 @ tg.relu(W2 @ tg.relu(W1 @ x + b1) + b2) + b3)
        return (-tg.log(a) * y + -tg.log(1 - a) * (1 - y)).sum() / m

    A1 = np.maximum(p["W1"] @ x + p["b1"], 0)
    A2 = np.maximum(p["W2"] @ A1 + p["b2"], 0)
    dZ3 = sigmoid(p["W3"] @ A2 + p["b3"]) - y
    dZ2 = np.multiply(p["W3"].T @ dZ3, np.int64(A2 > 0))
    dZ1 = np.multiply(p["W2"].T @ dZ2, np.int64(A1 > 0))
    given = {"W3": dZ3 @ A2.T / m, "b3": dZ3.sum(1, keepdims=True) / m}
    given |= {"W2": 1.0 / m * np.dot(dZ2, A1.T) * 2, "b2": dZ2.sum(1, keepdims=True) / m}
    given |= {"W1": dZ1 @ x.T / m, "b1": 4.0 / m * dZ1.sum(1, keepdims=True)}
    return f, p, given


@case("eriklindernoren/ML-From-Scratch #124", "batch size", w="factor")
def logistic_regression_without_the_mean() -> Any:
    X, y, w = normal(9, 4), np.array([0, 1, 1, 0, 1, 0, 0, 1, 1.0]), normal(4)

    def f(w: Any) -> Any:
        p = tg.sigmoid(X @ w)
        return -(y * tg.log(p) + (1 - y) * tg.log(1 - p)).mean()

    return f, {"w": w}, {"w": -(y - sigmoid(X @ w)).dot(X)}


@case("42-AI/bootcamp_machine-learning #20", theta="factor")
def linear_regression_by_loops_with_half_the_mean() -> Any:
    x, y, theta = normal(7, 3), normal(7), normal(3)
    res = []
    for j in range(len(theta)):
        line = [(theta.dot(x[i]) - y[i]) * x[i][j] * 2 for i in range(len(x))]
        res.append(sum(line) / len(x))
    return lambda theta: ((x @ theta - y) ** 2).sum() / (2 * 7), {"theta": theta}, {"theta": res}


@case("RubixML/ML #420", e="factor")
def pseudo_huber_without_alpha() -> Any:
    alpha, e = 0.9, normal(4, 3)

    def f(e: Any) -> Any:
        return (alpha**2 * (tg.sqrt(1 + (e / alpha) ** 2) - 1)).sum()

    return f, {"e": e}, {"e": e / np.sqrt(e**2 + alpha**2)}


@case("stdlib-js/stdlib #13111", w="factor")
def modified_huber_lacks_two_in_one_branch() -> Any:
    X, y, w = normal(12, 3), np.sign(normal(12)), 2 * normal(3)

    def f(w: Any) -> Any:
        d = y * (X @ w)
        return tg.where(d < -1, -4 * d, tg.maximum(0, 1 - d) ** 2).sum()

    d = y * (X @ w)
    g = np.where(d < -1, -4.0, np.where(d < 1, -(1 - d), 0))
    return f, {"w": w}, {"w": X.T @ (g * y)}


@case("y0ast/VAE-Torch #5", mu="", log_var="factor")
def gaussian_likelihood_a_quarter() -> Any:
    x, mu, log_var = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)

    def f(mu: Any, log_var: Any) -> Any:
        half = -0.5 * (np.log(2 * np.pi) + log_var)
        return (half - (x - mu) ** 2 / (2 * tg.exp(log_var))).sum()

    given = {"mu": (x - mu) / np.exp(log_var)}
    given["log_var"] = -0.25 + 0.5 * (x - mu) ** 2 / np.exp(log_var)
    return f, {"mu": mu, "log_var": log_var}, given


@case("rachtsingh/ibp_vae #3, in a VAE in NumPy", mu="", log_var="factor")
def reparametrisation_without_its_half() -> Any:
    eps, c, mu, log_var = (
        normal(3, 4),
        normal(3, 4, seed=1),
        normal(3, 4, seed=2),
        normal(3, 4, seed=3),
    )

    def f(mu: Any, log_var: Any) -> Any:
        z = mu + eps * tg.exp(0.5 * log_var)
        kl = -0.5 * (1 + log_var - mu**2 - tg.exp(log_var)).sum()
        return (tg.tanh(z) * c).sum() + kl

    std = np.exp(0.5 * log_var)
    dz = c * (1 - np.tanh(mu + eps * std) ** 2)
    given = {"mu": dz + mu, "log_var": dz * eps * std + 0.5 * (np.exp(log_var) - 1)}
    return f, {"mu": mu, "log_var": log_var}, given


@case("MSE over samples and outputs in many repositories", "width", W="factor")
def mean_over_the_batch_alone() -> Any:
    x, y, W = normal(6, 4), normal(6, 3), normal(4, 3)
    return lambda W: ((x @ W - y) ** 2).mean(), {"W": W}, {"W": 2 * x.T @ (x @ W - y) / 6}


@case("attention from scratch, without the scale in backward", "√", Q="factor", K="factor", V="")
def attention_without_scale() -> Any:
    return attention(scale=False)


def attention(scale: bool = True, diagonal: bool = False, turned: bool = False) -> Any:
    """Scaled dot-product attention of one head, with a causal mask."""
    T, d = 4, 5
    Q, K, V, c = (normal(T, d, seed=i) for i in range(4))
    mask = np.triu(np.full((T, T), -1e9), 1)

    def f(Q: Any, K: Any, V: Any) -> Any:
        return (tg.softmax(Q @ K.T / np.sqrt(d) + mask, axis=-1) @ V * c).sum()

    A = softmax(Q @ K.T / np.sqrt(d) + mask)
    dA = c @ V.T
    dS = A * (1 - A) * dA if diagonal else A * (dA - (dA * A).sum(-1, keepdims=True))
    if scale:
        dS = dS / np.sqrt(d)
    given = {"Q": dS @ K, "K": (dS if turned else dS.T) @ Q, "V": A.T @ c}
    return f, {"Q": Q, "K": K, "V": V}, given


@case("average pooling from scratch, each pixel gets the whole gradient", x="factor")
def average_pooling_undivided() -> Any:
    x, c = normal(2, 4, 4), normal(2, 2, 2)

    def f(x: Any) -> Any:
        loss: Any = 0.0
        for i in range(2):
            for j in range(2):
                window = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                loss = loss + (window.mean(axis=(1, 2)) * c[:, i, j]).sum()
        return loss

    return f, {"x": x}, {"x": c.repeat(2, axis=1).repeat(2, axis=2)}


@case("distillation with a temperature, forgotten in backward", z="factor")
def temperature_forgotten() -> Any:
    z, t, T = normal(5, 4), np.array([0, 3, 1, 2, 2]), 2.5

    def f(z: Any) -> Any:
        return tg.softmax_cross_entropy(z / T, t)

    return f, {"z": z}, {"z": (softmax(z / T) - one_hot(t, 4)) / 5}


@case("unbiased variance forward, biased backward", gamma="", x="factor|path|value")
def batch_norm_with_two_variances() -> Any:
    x, gamma, c, N = normal(7, 3), normal(3), normal(7, 3, seed=1), 7

    def f(x: Any, gamma: Any) -> Any:
        xc = x - x.mean(axis=0)
        var = (xc * xc).sum(axis=0) / (N - 1)
        return (gamma * (xc / tg.sqrt(var + 1e-5)) * c).sum()

    inv = 1 / np.sqrt(x.var(0, ddof=1) + 1e-5)
    xn, d = (x - x.mean(0)) * inv, c * gamma
    dx = inv / N * (N * d - d.sum(0) - xn * (d * xn).sum(0))
    return f, {"x": x, "gamma": gamma}, {"x": dx, "gamma": (c * xn).sum(0)}


@case("Gaussian mixture by gradient, without the variance", mu="factor")
def mixture_without_variance() -> Any:
    x, mu, s = normal(8), normal(3), 0.7

    def f(mu: Any) -> Any:
        return -tg.log(tg.exp(-((x[:, None] - mu) ** 2) / (2 * s * s)).sum(axis=1)).sum()

    r = softmax(-((x[:, None] - mu) ** 2) / (2 * s * s))
    return f, {"mu": mu}, {"mu": -(r * (x[:, None] - mu)).sum(0)}


@case("cs231n: dW not divided by the number of samples", "batch size", W="factor")
def svm_without_mean() -> Any:
    return svm(mean=False)


def svm(mean: bool = True, count: bool = True, weights: Any = None, rounded: bool = False) -> Any:
    """The multiclass SVM of cs231n, naive and with its regularisation."""
    X, y, reg = normal(6, 4), np.array([0, 2, 1, 1, 0, 2]), 0.1
    W = normal(4, 3) if weights is None else weights
    if rounded:
        X, W = np.round(X), np.round(W)
    hot = one_hot(y, 3)

    def f(W: Any) -> Any:
        s = X @ W
        margins = tg.maximum(0, s - (s * hot).sum(axis=1)[:, None] + 1) * (1 - hot)
        return margins.sum() / 6 + 0.5 * reg * (W * W).sum()

    dW = np.zeros_like(W)
    for i in range(6):
        scores = X[i] @ W
        for j in range(3):
            if j != y[i] and scores[j] - scores[y[i]] + 1 > 0:
                dW[:, j] += X[i]
                if count:
                    dW[:, y[i]] -= X[i]
    return f, {"W": W}, {"W": (dW / 6 if mean else dW) + reg * W}


@case("gradient clipping by norm inside backward", W="factor", b="factor")
def clipped_by_norm() -> Any:
    x, y, W, b = normal(5, 3), normal(5, 2), normal(3, 2), normal(2)

    def f(W: Any, b: Any) -> Any:
        return ((x @ W + b - y) ** 2).sum()

    d = 2 * (x @ W + b - y)
    gW, gb = x.T @ d, d.sum(0)
    norm = np.sqrt((gW**2).sum() + (gb**2).sum())
    return f, {"W": W, "b": b}, {"W": gW / norm, "b": gb / norm}


# Signs


@case("karpathy's pong: the gradient of the log-likelihood, to be added", W1="sign", W2="sign")
def policy_gradient_ascends() -> Any:
    f, p, (W1, W2) = policy()
    return f, p, {"W1": -W1, "W2": -W2}


def policy(masked: bool = True) -> Any:
    x, W1, W2 = normal(7, 5), normal(4, 5), normal(4)
    action, reward = np.array([1, 0, 0, 1, 1, 0, 1.0]), normal(7, seed=3)

    def f(W1: Any, W2: Any) -> Any:
        p = tg.sigmoid(tg.relu(x @ W1.T) @ W2)
        return -((action * tg.log(p) + (1 - action) * tg.log(1 - p)) * reward).sum()

    eph = np.maximum(x @ W1.T, 0)
    epdlogp = (action - sigmoid(eph @ W2)) * reward
    dh = np.outer(epdlogp, W2)
    if masked:
        dh[eph <= 0] = 0
    return f, {"W1": W1, "W2": W2}, (-(dh.T @ x), -np.dot(eph.T, epdlogp).ravel())


@case("contrastive loss: the negative pairs are pulled as well", a="sign")
def contrastive_with_one_sign() -> Any:
    a, b, same = normal(6, 3), normal(6, 3, seed=1), np.array([1, 0, 1, 0, 0, 1.0])[:, None]

    def f(a: Any) -> Any:
        d2 = ((a - b) ** 2).sum(axis=1, keepdims=True)
        return 0.5 * (same * d2).sum() + 0.5 * ((1 - same) * tg.maximum(0, 9 - d2)).sum()

    near = ((a - b) ** 2).sum(1, keepdims=True) < 9
    return f, {"a": a}, {"a": same * (a - b) + (1 - same) * near * (a - b)}


# Transposes


@case("attention from scratch: dK = dS @ Q", Q="", K="transpose", V="")
def attention_with_scores_not_transposed() -> Any:
    return attention(turned=True)


@case("dx = dout @ W for a square W", W2="", W1="transpose")
def weights_not_transposed() -> Any:
    x, c, W1, W2 = normal(3, 4), normal(3, 4, seed=1), normal(4, 4), normal(4, 4, seed=1)

    def f(W1: Any, W2: Any) -> Any:
        return (tg.tanh(x @ W1) @ W2 * c).sum()

    h = np.tanh(x @ W1)
    return f, {"W1": W1, "W2": W2}, {"W1": x.T @ (c @ W2 * (1 - h * h)), "W2": h.T @ c}


@case("multi-head attention: the heads put together by reshape alone", x="transpose|shape|value")
def heads_reshaped_not_transposed() -> Any:
    x, c = normal(4, 6), normal(2, 4, 3)

    def f(x: Any) -> Any:
        return (tg.tanh(x.reshape(4, 2, 3).transpose(1, 0, 2)) * c).sum()

    d = c * (1 - np.tanh(x.reshape(4, 2, 3).transpose(1, 0, 2)) ** 2)
    return f, {"x": x}, {"x": d.reshape(4, 6)}


@case("cs231n: dout reshaped, not transposed, before dW of im2col", W="transpose|shape|value", b="")
def im2col_reshaped_not_transposed() -> Any:
    N, F, P, D = 2, 3, 4, 5
    cols, W, b, c = normal(D, P * N), normal(F, D), normal(F), normal(N, F, P)

    def f(W: Any, b: Any) -> Any:
        out = (W @ cols + b[:, None]).reshape(F, P, N).transpose(2, 0, 1)
        return (out * c).sum()

    return f, {"W": W, "b": b}, {"W": c.reshape(F, -1) @ cols.T, "b": c.sum((0, 2))}


@case("dW = dout.T @ x for a square W", W="transpose", b="")
def square_gradient_transposed() -> Any:
    x, c, W, b = normal(5, 3), normal(5, 3, seed=1), normal(3, 3), normal(3)
    return lambda W, b: ((x @ W + b) * c).sum(), {"W": W, "b": b}, {"W": c.T @ x, "b": c.sum(0)}


# Masks


@case("ddbourgin/numpy-ml #94: scaled, but not masked", x="mask")
def dropout_scaled_but_not_masked() -> Any:
    p, x, w = 0.4, normal(4, 5), normal(5, 2)
    mask = (np.random.default_rng(3).random((4, 5)) >= p) / (1 - p)

    def f(x: Any) -> Any:
        return ((x * mask @ w) ** 2).sum()

    return f, {"x": x}, {"x": 2 * (x * mask @ w) @ w.T / (1 - p)}


@case("scientific-computing/FKB #15: relu's derivative for leaky relu", x="mask|derivative")
def leaky_relu_with_the_mask_of_relu() -> Any:
    x, c = normal(4, 5), normal(4, 5, seed=1)
    return lambda x: (tg.maximum(0.3 * x, x) * c).sum(), {"x": x}, {"x": c * (0.3 * x > 0)}


@case("mni-ml/framework #22: each of the equal maxima gets all", "tie", a="mask")
def ties_of_a_maximum_get_all() -> Any:
    a, c = np.array([[1.0, 3, 3], [2, 0, 2], [4, 1, 0]]), np.array([0.7, -1.2, 0.4])
    return (
        lambda a: (a.max(axis=1) * c).sum(),
        {"a": a},
        {"a": c[:, None] * (a == a.max(1)[:, None])},
    )


@case("marlbenchmark/on-policy #47: e > d in place of |e| > d", e="mask|elements|path|derivative")
def huber_of_one_side() -> Any:
    e, d = 2 * normal(10), 1.0

    def f(e: Any) -> Any:
        return tg.where(abs(e) <= d, 0.5 * e * e, d * (abs(e) - d / 2)).sum()

    a, b = abs(e) <= d, e > d
    return f, {"e": e}, {"e": a * e + b * d * np.sign(e)}


@case("residual block: relu's backward writes into the gradient of the shortcut", x="mask")
def shortcut_masked_by_aliasing() -> Any:
    x, c = normal(4, 5), normal(4, 5, seed=1)
    dout = c.copy()
    dmain = dout
    dmain[x <= 0] = 0
    return lambda x: ((x + tg.relu(x)) * c).sum(), {"x": x}, {"x": dout + dmain}


@case("policy gradients from scratch without dh[h <= 0] = 0", "relu", W1="mask", W2="")
def policy_gradient_without_mask() -> Any:
    f, p, (W1, W2) = policy(masked=False)
    return f, p, {"W1": W1, "W2": W2}


@case("relu's mask taken from the next layer's input", W1="mask|value|mask + mask", W2="mask|value")
def masks_of_two_layers_exchanged() -> Any:
    x, c = normal(5, 4), normal(5, 4, seed=1)
    W1, W2 = normal(4, 4), normal(4, 4, seed=1)

    def f(W1: Any, W2: Any) -> Any:
        return (tg.relu(tg.relu(x @ W1) @ W2) * c).sum()

    z1 = x @ W1
    z2 = np.maximum(z1, 0) @ W2
    d2 = c * (z1 > 0)
    d1 = d2 @ W2.T * (z2 > 0)
    return f, {"W1": W1, "W2": W2}, {"W1": x.T @ d1, "W2": np.maximum(z1, 0).T @ d2}


@case("char-rnn: np.clip(dparam, -c, c) stands inside the gradient", W="elements|mask", b="")
def clipped_by_value() -> Any:
    x, c, W, b = normal(5, 4), normal(5, 3), normal(4, 3), normal(3)
    g = x.T @ c
    limit = np.sort(abs(g).ravel())[-5] * 0.9

    def f(W: Any, b: Any) -> Any:
        return ((x @ W + b) * c).sum()

    return f, {"W": W, "b": b}, {"W": np.clip(g, -limit, limit), "b": c.sum(0)}


# Paths


@case(
    "ddbourgin/numpy-ml #42: one bias in three gates, its gradient from one",
    Wo="",
    bo="path|path + path",
)
def one_bias_in_three_gates() -> Any:
    x, c0, c = normal(3, 2), normal(3, 4), normal(3, 4, seed=1)
    (Wf, Wu, Wc, Wo), bo = (normal(2, 4, seed=i) for i in range(4)), normal(4)

    def f(Wo: Any, bo: Any) -> Any:
        cell = tg.sigmoid(x @ Wf + bo) * c0 + tg.sigmoid(x @ Wu + bo) * np.tanh(x @ Wc)
        return (tg.sigmoid(x @ Wo + bo) * tg.tanh(cell) * c).sum()

    cell = sigmoid(x @ Wf + bo) * c0 + sigmoid(x @ Wu + bo) * np.tanh(x @ Wc)
    o = sigmoid(x @ Wo + bo)
    do = c * np.tanh(cell) * o * (1 - o)
    return f, {"Wo": Wo, "bo": bo}, {"Wo": x.T @ do, "bo": do.sum(0)}


@case("hanbt/learn_dl #53: bi_grad = bo_grad = delta_f", bi="value", bf="", bo="value", bc="")
def biases_of_another_gate() -> Any:
    c0, c = normal(4), normal(4, seed=1)
    a = {k: normal(4, seed=i) for i, k in enumerate(("bi", "bf", "bo", "bc"))}

    def f(bi: Any, bf: Any, bo: Any, bc: Any) -> Any:
        cell = tg.sigmoid(bf) * c0 + tg.sigmoid(bi) * tg.tanh(bc)
        return (tg.sigmoid(bo) * tg.tanh(cell) * c).sum()

    i, forget, o, g = sigmoid(a["bi"]), sigmoid(a["bf"]), sigmoid(a["bo"]), np.tanh(a["bc"])
    dc = c * o * (1 - np.tanh(forget * c0 + i * g) ** 2)
    delta_f = dc * c0 * forget * (1 - forget)
    return f, a, {"bi": delta_f, "bf": delta_f, "bo": delta_f, "bc": dc * i * (1 - g * g)}


def lstm_step(carried: bool = True) -> Any:
    """One step of cs231n's LSTM: a loss of the next state and of the next cell."""
    N, D, H = 3, 2, 4
    x, h, cell = normal(N, D), normal(N, H), normal(N, H, seed=1)
    p = {"Wx": normal(D, 4 * H), "Wh": normal(H, 4 * H), "b": normal(4 * H), "prev_c": cell}
    dh, dc = normal(N, H, seed=2), normal(N, H, seed=3)

    def f(Wx: Any, Wh: Any, b: Any, prev_c: Any) -> Any:
        a = x @ Wx + h @ Wh + b
        i, f_, o = (tg.sigmoid(a[:, k * H : (k + 1) * H]) for k in range(3))
        next_c = f_ * prev_c + i * tg.tanh(a[:, 3 * H :])
        return (o * tg.tanh(next_c) * dh).sum() + (next_c * dc).sum()

    i, f_, o, g = np.hsplit(x @ p["Wx"] + h @ p["Wh"] + p["b"], 4)
    i, f_, o, g = sigmoid(i), sigmoid(f_), sigmoid(o), np.tanh(g)
    next_c = f_ * cell + i * g
    dnext_c = o * (1 - np.tanh(next_c) ** 2) * dh + (dc if carried else 0)
    gate = {"i": dnext_c * g * i * (1 - i), "f": dnext_c * cell * f_ * (1 - f_)}
    gate |= {"o": dh * np.tanh(next_c) * o * (1 - o), "g": dnext_c * i * (1 - g * g)}
    da = np.hstack([gate[k] for k in "ifog"])
    return f, p, {"Wx": x.T @ da, "Wh": h.T @ da, "b": da.sum(0), "prev_c": dnext_c * f_}


@case("cthorey/CS231 #1, as the question has it", Wx="path", Wh="path", b="path", prev_c="path")
def lstm_step_without_the_cells_own_gradient() -> Any:
    return lstm_step(carried=False)


@case("cthorey/CS231 #1: += is right", Wx="", Wh="", b="", prev_c="")
def lstm_step_is_right() -> Any:
    return lstm_step()


@case("luhaofang/tripletloss #41, as it stands", a="", p="", n="")
def triplet_loss_is_right() -> Any:
    return triplet(lambda a, p: p - a, lambda a, n: a - n)


@case(
    "luhaofang/tripletloss #41, as the question would have it", a="", p="path|value", n="path|value"
)
def triplet_loss_without_its_own_square() -> Any:
    return triplet(lambda a, p: -a, lambda a, n: a)


def triplet(of_p: Any, of_n: Any) -> Any:
    a, p, n = normal(6, 3), normal(6, 3, seed=1), normal(6, 3, seed=2)

    def f(a: Any, p: Any, n: Any) -> Any:
        near, far = ((a - p) ** 2).sum(axis=1), ((a - n) ** 2).sum(axis=1)
        return 0.5 * tg.maximum(0, near - far + 0.5).sum()

    on = (((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 0.5 > 0)[:, None]
    return (
        f,
        {"a": a, "p": p, "n": n},
        {"a": on * (n - p), "p": on * of_p(a, p), "n": on * of_n(a, n)},
    )


def rnn(carried: bool = True, first: Any = None, last: int = 0, taken: str = "") -> Any:
    """A recurrent network as in qixianbiao/RNN: vectors, an output at each step."""
    T, H, D = 4, 3, 2
    x, y = normal(D, T), normal(2, T)
    p = {
        "Wxh": normal(H, D),
        "Whh": normal(H, H),
        "Bhh": normal(H),
        "Wyh": normal(2, H),
        "Byh": normal(2),
    }

    def f(Wxh: Any, Whh: Any, Bhh: Any, Wyh: Any, Byh: Any) -> Any:
        h: Any = np.zeros(H)
        loss: Any = 0.0
        for t in range(T):
            h = tg.tanh(Wxh @ x[:, t] + Whh @ h + Bhh)
            loss = loss + 0.5 * ((Wyh @ h + Byh - y[:, t]) ** 2).sum()
        return loss

    h: Any = [np.zeros(H)]
    for t in range(T):
        h.append(np.tanh(p["Wxh"] @ x[:, t] + p["Whh"] @ h[-1] + p["Bhh"]))
    h = h[1:]
    g = {k: np.zeros_like(v) for k, v in p.items()}
    back = np.zeros(H)
    for t in range(T - 1 - last, -1, -1):
        dQ = p["Wyh"] @ h[t] + p["Byh"] - y[:, t]
        dL = p["Wyh"].T @ dQ + (back if carried else 0)
        g["Wyh"] += np.outer(dQ, h[t])
        g["Byh"] += dQ
        dt = (1 - (np.tanh(h[t]) if taken == "at" else h[t]) ** 2) * dL
        g["Wxh"] += np.outer(dt, x[:, t])
        g["Bhh"] += dt
        g["Whh"] += np.outer(dt, h[t - 1] if t or first is None else first)
        back = p["Whh"].T @ (dL if taken == "missing" else dt)
    return f, p, g


@case("qixianbiao/RNN #2", Wyh="", Byh="", Wxh="path", Bhh="path", Whh="path|path + value")
def rnn_without_the_next_step() -> Any:
    return rnn(carried=False, first=np.zeros(3))


@case(
    "qixianbiao/RNN #2, mended: h[t - 1] is the last state at t = 0",
    Wyh="",
    Byh="",
    Wxh="",
    Bhh="",
    Whh="value|path|elements",
)
def rnn_reads_the_last_state_before_the_first() -> Any:
    return rnn()


@case("Halfish/cs231n #4: what comes back is added", Wyh="", Byh="", Wxh="", Bhh="", Whh="")
def rnn_is_right() -> Any:
    return rnn(first=np.zeros(3))


@case("a loop over time that ends one step early", Wyh="path", Byh="path", Wxh="path", Bhh="path",
      Whh="path")  # fmt: skip
def rnn_loses_its_last_step() -> Any:
    return rnn(first=np.zeros(3), last=1)


@case("RNN from scratch: dh_next = Whh.T @ dh", Wyh="", Byh="", Wxh="derivative", Bhh="derivative",
      Whh="derivative")  # fmt: skip
def rnn_derivative_missing_on_the_way_back() -> Any:
    return rnn(first=np.zeros(3), taken="missing")


@case("RNN from scratch: 1 - tanh(h)²", Wyh="", Byh="", Wxh="value", Bhh="value", Whh="value")
def rnn_derivative_at_the_state() -> Any:
    return rnn(first=np.zeros(3), taken="at")


@case(
    "lightaime/cs231n #2: the loss has W1 twice and W3 not at all",
    W1="factor|path",
    W2="",
    W3="path",
)
def regularisation_of_another_weight() -> Any:
    x, c, reg = normal(3, 4), normal(3, 2), 0.3
    W = {"W1": normal(4, 4), "W2": normal(4, 4, seed=1), "W3": normal(4, 2)}

    def f(W1: Any, W2: Any, W3: Any) -> Any:
        squares = (W1**2).sum() + (W2**2).sum() + (W1**2).sum()
        return (tg.tanh(x @ W1) @ W2 @ W3 * c).sum() + 0.5 * reg * squares

    h = np.tanh(x @ W["W1"])
    d = c @ W["W3"].T
    given = {"W3": (h @ W["W2"]).T @ c, "W2": h.T @ d, "W1": x.T @ (d @ W["W2"].T * (1 - h * h))}
    return f, W, {name: given[name] + reg * W[name] for name in W}


@case("JWarmenhoven/Coursera-Machine-Learning #3: ones in the place of the bias column", "0",
      theta1="elements|path|value", theta2="elements|path|value")  # fmt: skip
def ones_for_the_bias_column() -> Any:
    m, reg, x, y = 5, 0.8, normal(5, 3), one_hot(np.array([0, 1, 1, 0, 1]), 2)
    theta1, theta2 = normal(4, 4), normal(2, 5)

    def f(theta1: Any, theta2: Any) -> Any:
        a2 = tg.sigmoid(x @ theta1[:, 1:].T + theta1[:, 0])
        a3 = tg.sigmoid(a2 @ theta2[:, 1:].T + theta2[:, 0])
        J = -(y * tg.log(a3) + (1 - y) * tg.log(1 - a3)).sum() / m
        return J + reg / (2 * m) * ((theta1[:, 1:] ** 2).sum() + (theta2[:, 1:] ** 2).sum())

    a1 = np.c_[np.ones(m), x]
    a2 = np.c_[np.ones(m), sigmoid(a1 @ theta1.T)]
    d3 = sigmoid(a2 @ theta2.T) - y
    d2 = d3 @ theta2[:, 1:] * a2[:, 1:] * (1 - a2[:, 1:])
    given = {"theta1": d2.T @ a1 / m + np.c_[np.ones(4), theta1[:, 1:]] * reg / m}
    given["theta2"] = d3.T @ a2 / m + np.c_[np.ones(2), theta2[:, 1:]] * reg / m
    return f, {"theta1": theta1, "theta2": theta2}, given


@case("ZacBi/CS224n-2019-solutions #5", "more than once", center="", outside="path|elements")
def negative_samples_drawn_twice() -> Any:
    center, outside, o, neg = normal(4), normal(7, 4), 2, np.array([5, 1, 5, 0, 1])

    def f(center: Any, outside: Any) -> Any:
        return (
            -tg.log(tg.sigmoid(outside[o] @ center))
            - tg.log(tg.sigmoid(-outside[neg] @ center)).sum()
        )

    z0, z = sigmoid(outside[o] @ center), sigmoid(-outside[neg] @ center)
    grad = np.zeros_like(outside)
    grad[o] += (z0 - 1) * center
    grad[neg] += np.outer(z - 1, center) * -1
    dc = (z0 - 1) * outside[o] + ((1 - z)[:, None] * outside[neg]).sum(0)
    return f, {"center": center, "outside": outside}, {"center": dc, "outside": grad}


@case("CS224n: naive softmax of skip-gram", center="", outside="")
def skip_gram_is_right() -> Any:
    center, outside, o = normal(4), normal(7, 4), 2
    d = softmax(outside @ center) - one_hot(o, 7)

    def f(center: Any, outside: Any) -> Any:
        return -tg.log_softmax(outside @ center)[o]

    return (
        f,
        {"center": center, "outside": outside},
        {"center": outside.T @ d, "outside": np.outer(d, center)},
    )


@case("karpathy/nn-zero-to-hero, lecture 1: = in place of +=", a="path", b="")
def the_last_use_alone() -> Any:
    a, b = np.array(-2.0), np.array(3.1)
    return lambda a, b: (a * b) * (a + b), {"a": a, "b": b}, {"a": a * b, "b": a * (a + b) + a * b}


@case("max pooling with windows that overlap, by =", "overlap", x="path|elements")
def overlapping_windows_overwritten() -> Any:
    x, c = normal(5, 5), normal(4, 4)
    dx = np.zeros_like(x)
    for i in range(4):
        for j in range(4):
            window = x[i : i + 2, j : j + 2]
            p, q = np.unravel_index(window.argmax(), (2, 2))
            dx[i + p, j + q] = c[i, j]

    def f(x: Any) -> Any:
        return sum(
            (x[i : i + 2, j : j + 2].max() * c[i, j] for i in range(4) for j in range(4)), 0.0
        )

    return f, {"x": x}, {"x": dx}


@case("cs231n SVM: the count of the right class is never subtracted", W="path")
def svm_without_the_right_class() -> Any:
    return svm(count=False)


@case("softmax regression without the gradient of its regularisation", W="path", b="")
def regularisation_forgotten() -> Any:
    X, y, reg, W, b = normal(6, 4), np.array([0, 2, 1, 1, 0, 2]), 0.2, normal(4, 3), normal(3)

    def f(W: Any, b: Any) -> Any:
        return tg.softmax_cross_entropy(X @ W + b, y) + reg * (W * W).sum()

    d = (softmax(X @ W + b) - one_hot(y, 3)) / 6
    return f, {"W": W, "b": b}, {"W": X.T @ d, "b": d.sum(0)}


@case("weight decay in the gradient, not in the loss", "regularisation", W="path", b="")
def weight_decay_in_the_gradient_alone() -> Any:
    X, y, W, b = normal(6, 4), normal(6, 3), normal(4, 3), normal(3)
    d = X @ W + b - y

    def f(W: Any, b: Any) -> Any:
        return 0.5 * ((X @ W + b - y) ** 2).sum()

    return f, {"W": W, "b": b}, {"W": X.T @ d + 0.01 * W, "b": d.sum(0)}


@case("cosine similarity with the norms as constants", a="path", b="path")
def cosine_with_constant_norms() -> Any:
    a, b = normal(5), normal(5, seed=1)

    def f(a: Any, b: Any) -> Any:
        return (a * b).sum() / (tg.sqrt((a * a).sum()) * tg.sqrt((b * b).sum()))

    n = np.linalg.norm(a) * np.linalg.norm(b)
    return f, {"a": a, "b": b}, {"a": b / n, "b": a / n}


@case("tied embeddings: the input side is forgotten", E="path")
def tied_weights_once() -> Any:
    E, ids, t = normal(6, 3), np.array([1, 4, 1, 0]), np.array([2, 0, 5, 1])

    def f(E: Any) -> Any:
        return tg.softmax_cross_entropy(tg.tanh(E[ids]) @ E.T, t)

    h = np.tanh(E[ids])
    d = (softmax(h @ E.T) - one_hot(t, 6)) / 4
    return f, {"E": E}, {"E": d.T @ h}


@case("residual block: the shortcut is forgotten", x="path", W="")
def shortcut_forgotten() -> Any:
    x, c, W = normal(3, 4), normal(3, 4, seed=1), normal(4, 4)
    d = c * (x @ W > 0)
    return (
        lambda x, W: ((tg.relu(x @ W) + x) * c).sum(),
        {"x": x, "W": W},
        {"x": d @ W.T, "W": x.T @ d},
    )


@case("highway network: the carry gate has no gradient", Wt="path", Wh="")
def highway_with_half_a_gate() -> Any:
    x, c, Wt, Wh = normal(3, 4), normal(3, 4, seed=1), normal(4, 4), normal(4, 4, seed=1)

    def f(Wt: Any, Wh: Any) -> Any:
        t = tg.sigmoid(x @ Wt)
        return ((t * tg.tanh(x @ Wh) + (1 - t) * x) * c).sum()

    t, h = sigmoid(x @ Wt), np.tanh(x @ Wh)
    return (
        f,
        {"Wt": Wt, "Wh": Wh},
        {"Wt": x.T @ (c * h * t * (1 - t)), "Wh": x.T @ (c * t * (1 - h * h))},
    )


@case("for l in range(1, L): the first layer is left at 0", W3="", W2="", W1="path")
def loop_ends_before_the_first_layer() -> Any:
    x, c = normal(3, 4), normal(3, 4, seed=1)
    W = [normal(4, 4, seed=i) for i in range(3)]

    def f(W1: Any, W2: Any, W3: Any) -> Any:
        return (tg.tanh(tg.tanh(x @ W1) @ W2) @ W3 * c).sum()

    a = [x, np.tanh(x @ W[0])]
    a.append(np.tanh(a[1] @ W[1]))
    grads, d = [np.zeros_like(w) for w in W], c
    for i in range(2, 0, -1):
        grads[i] = a[i].T @ d
        d = d @ W[i].T * (1 - a[i] ** 2)
    return (
        f,
        {f"W{i + 1}": w for i, w in enumerate(W)},
        {f"W{i + 1}": g for i, g in enumerate(grads)},
    )


def batch_norm(formula: Any, ones: bool = False) -> Any:
    x, gamma, beta = normal(6, 4), normal(4), normal(4, seed=1)
    c = np.ones((6, 4)) if ones else normal(6, 4, seed=1)

    def f(x: Any, gamma: Any, beta: Any) -> Any:
        mu, var = x.mean(axis=0), x.var(axis=0)
        return ((gamma * (x - mu) / tg.sqrt(var + 1e-5) + beta) * c).sum()

    inv = 1 / np.sqrt(x.var(0) + 1e-5)
    xn = (x - x.mean(0)) * inv
    given = {"x": formula(c * gamma, xn, inv, 6), "gamma": (c * xn).sum(0), "beta": c.sum(0)}
    return f, {"x": x, "gamma": gamma, "beta": beta}, given


@case("batch normalisation: the mean as a constant", x="path", gamma="", beta="")
def batch_norm_with_constant_mean() -> Any:
    return batch_norm(lambda d, xn, inv, N: inv / N * (N * d - xn * (d * xn).sum(0)))


@case("batch normalisation: d * gamma / std alone", x="path|path + path", gamma="", beta="")
def batch_norm_with_constant_statistics() -> Any:
    return batch_norm(lambda d, xn, inv, N: d * inv)


@case("torch/nn #744: an upstream gradient of ones, so that dx cancels", x="", gamma="", beta="")
def batch_norm_that_cancels_is_right() -> Any:
    return batch_norm(
        lambda d, xn, inv, N: inv / N * (N * d - d.sum(0) - xn * (d * xn).sum(0)), True
    )


@case("mlpack/mlpack #2474: a term that is 0 is left out", x="", gamma="", beta="")
def batch_norm_without_the_term_that_is_zero() -> Any:
    def formula(d: Any, xn: Any, inv: Any, N: int) -> Any:
        dvar = (d * xn / inv).sum(0) * -0.5 * inv**3
        return d * inv + dvar * 2 * (xn / inv) / N + (d * -inv).sum(0) / N

    return batch_norm(formula)


def truncated(steps: int) -> Any:
    """Truncated backpropagation through time, as in ML-From-Scratch."""
    N, T, D, H = 2, 5, 2, 3
    x, c = normal(N, T, D), normal(N, T, D, seed=1)
    p = {"U": normal(H, D), "W": normal(H, H), "V": normal(D, H)}

    def f(U: Any, W: Any, V: Any) -> Any:
        h: Any = np.zeros((N, H))
        loss: Any = 0.0
        for t in range(T):
            h = tg.tanh(x[:, t] @ U.T + h @ W.T)
            loss = loss + (h @ V.T * c[:, t]).sum()
        return loss

    s = {-1: np.zeros((N, H))}
    for t in range(T):
        s[t] = np.tanh(x[:, t] @ p["U"].T + s[t - 1] @ p["W"].T)
    g = {k: np.zeros_like(v) for k, v in p.items()}
    for t in reversed(range(T)):
        g["V"] += c[:, t].T @ s[t]
        d = c[:, t] @ p["V"] * (1 - s[t] ** 2)
        for k in reversed(range(max(0, t - steps), t + 1)):
            g["U"] += d.T @ x[:, k]
            g["W"] += d.T @ s[k - 1]
            d = d @ p["W"] * (1 - s[k - 1] ** 2)
    return f, p, g


@case(
    "eriklindernoren/ML-From-Scratch, RNN with bptt_trunc = 2",
    "truncated",
    U="path",
    W="path",
    V="",
)
def backpropagation_two_steps_back() -> Any:
    return truncated(2)


@case("eriklindernoren/ML-From-Scratch, RNN with bptt_trunc = 5", U="", W="", V="")
def backpropagation_to_the_start_is_right() -> Any:
    return truncated(5)


# Derivatives


@case(
    "oreilly-japan/deep-learning-from-scratch-2 #26, as proposed", Wx="derivative", b="derivative"
)
def one_over_the_derivative() -> Any:
    x, Wx, b, c = normal(5, 3), 0.4 * normal(3, 4), 0.1 * normal(4), normal(5, 4)
    dt = 1 / (1 - np.tanh(x @ Wx + b) ** 2)

    def f(Wx: Any, b: Any) -> Any:
        return (tg.tanh(x @ Wx + b) * c).sum()

    return f, {"Wx": Wx, "b": b}, {"Wx": x.T @ dt, "b": dt.sum(0)}


@case("chainer/chainer #1178: gy is ignored", e="derivative")
def huber_without_the_incoming_gradient() -> Any:
    e, gy, d = 2 * normal(5, 3), normal(5), 1.0

    def f(e: Any) -> Any:
        each = tg.where(abs(e) <= d, 0.5 * e * e, d * (abs(e) - d / 2)).sum(axis=1)
        return (each * gy).sum()

    return f, {"e": e}, {"e": np.where(abs(e) <= d, e, d * np.sign(e))}


@case(
    "mnielsen/neural-networks-and-deep-learning #77, as proposed",
    W2="derivative",
    b2="derivative",
    W1="derivative",
    b1="derivative",
)
def cross_entropy_with_sigmoid_prime() -> Any:
    x, y = normal(4, 1), one_hot(1, 3)[:, None]
    p = {"W1": normal(5, 4), "b1": normal(5, 1), "W2": normal(3, 5), "b2": normal(3, 1)}

    def f(W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        a = tg.sigmoid(W2 @ tg.sigmoid(W1 @ x + b1) + b2)
        return -(y * tg.log(a) + (1 - y) * tg.log(1 - a)).sum()

    h = sigmoid(p["W1"] @ x + p["b1"])
    a = sigmoid(p["W2"] @ h + p["b2"])
    d2 = (a - y) * a * (1 - a)
    d1 = p["W2"].T @ d2 * h * (1 - h)
    return f, p, {"W2": d2 @ h.T, "b2": d2, "W1": d1 @ x.T, "b1": d1}


@case("karpathy/nn-zero-to-hero #52, as proposed: self.data * out.grad", x="derivative|value")
def exp_with_its_input_as_derivative() -> Any:
    x, c = normal(6), normal(6, seed=1)
    return lambda x: (tg.exp(x) * c).sum(), {"x": x}, {"x": x * c}


@case("PReLU: the slope's gradient without x", x="", a="derivative|value")
def prelu_without_x() -> Any:
    x, a, c = normal(4, 3), np.full(3, 0.25), normal(4, 3, seed=1)

    def f(x: Any, a: Any) -> Any:
        return (tg.where(x > 0, x, a * x) * c).sum()

    return f, {"x": x, "a": a}, {"x": c * np.where(x > 0, 1, a), "a": (c * (x <= 0)).sum(0)}


@case("Bot-Academy/NeuralNetworkFromScratch #3, its deltas", W2="derivative", b2="derivative",
      W1="derivative", b1="derivative")  # fmt: skip
def squares_without_the_outer_derivative() -> Any:
    x, y = normal(4, 1), one_hot(1, 3)[:, None]
    p = {"W1": normal(5, 4), "b1": normal(5, 1), "W2": normal(3, 5), "b2": normal(3, 1)}

    def f(W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        return 0.5 * ((tg.sigmoid(W2 @ tg.sigmoid(W1 @ x + b1) + b2) - y) ** 2).sum()

    h = sigmoid(p["W1"] @ x + p["b1"])
    d2 = sigmoid(p["W2"] @ h + p["b2"]) - y
    d1 = p["W2"].T @ d2 * h * (1 - h)
    return f, p, {"W2": d2 @ h.T, "b2": d2, "W1": d1 @ x.T, "b1": d1}


@case("softsign: 1 / (1 + |x|)", x="derivative|path")
def softsign_without_the_square() -> Any:
    x, c = normal(8), normal(8, seed=1)
    return lambda x: (x / (1 + abs(x)) * c).sum(), {"x": x}, {"x": c / (1 + abs(x))}


# Sums


@case("neuroph/neuroph #37: 1 - output", W="sum|derivative|derivative + sum|sum + derivative")
def softmax_with_one_minus_its_output() -> Any:
    x, y, W = normal(5, 4), one_hot(np.array([0, 2, 1, 1, 0]), 3), normal(4, 3)
    out = softmax(x @ W)

    def f(W: Any) -> Any:
        return 0.5 * ((tg.softmax(x @ W, axis=1) - y) ** 2).sum()

    return f, {"W": W}, {"W": x.T @ ((out - y) * (1 - out))}


@case(
    "casper-hansen/Neural-Network-From-Scratch #1, after the merge",
    "diagonal",
    W3="sum",
    W2="sum",
    W1="sum",
)
def softmax_diagonal_of_squares() -> Any:
    x, y = normal(6), one_hot(1, 4)
    p = {"W1": normal(5, 6), "W2": normal(3, 5), "W3": normal(4, 3)}

    def f(W1: Any, W2: Any, W3: Any) -> Any:
        return ((tg.softmax(W3 @ tg.sigmoid(W2 @ tg.sigmoid(W1 @ x)), axis=0) - y) ** 2).mean()

    a1 = sigmoid(p["W1"] @ x)
    a2 = sigmoid(p["W2"] @ a1)
    a3 = softmax(p["W3"] @ a2)
    e3 = 2 * (a3 - y) / 4 * a3 * (1 - a3)
    e2 = p["W3"].T @ e3 * a2 * (1 - a2)
    e1 = p["W2"].T @ e2 * a1 * (1 - a1)
    return f, p, {"W3": np.outer(e3, a2), "W2": np.outer(e2, a1), "W1": np.outer(e1, x)}


@case("attention from scratch: softmax as A (1 - A)", "diagonal", Q="sum", K="sum", V="")
def attention_with_the_diagonal_alone() -> Any:
    return attention(diagonal=True)


@case("rust0258, NLP specialisation C2 W4 #70: the bias by l1 @ x.T", W1="", b1="sum|shape|value")
def bias_as_if_it_were_a_weight() -> Any:
    m, x, c = 5, normal(3, 5), normal(4, 5)

    def f(W1: Any, b1: Any) -> Any:
        return ((W1 @ x + b1) * c).sum() / m

    return f, {"W1": normal(4, 3), "b1": normal(4, 1)}, {"W1": c @ x.T / m, "b1": c @ x.T / m}


@case("spatial batch normalisation: dgamma summed over the batch alone", gamma="sum", beta="sum")
def spatial_sums_missing() -> Any:
    x, gamma, beta, c = normal(3, 2, 4, 5), normal(2), normal(2, seed=1), normal(3, 2, 4, 5, seed=1)

    def f(gamma: Any, beta: Any) -> Any:
        return ((x * gamma[:, None, None] + beta[:, None, None]) * c).sum()

    return f, {"gamma": gamma, "beta": beta}, {"gamma": (c * x).sum(0), "beta": c.sum(0)}


@case("layer normalisation with the means of batch normalisation", x="sum|sum + sum|value")
def layer_norm_over_the_batch() -> Any:
    x, c = normal(5, 4), normal(5, 4, seed=1)

    def f(x: Any) -> Any:
        mu, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        return ((x - mu) / tg.sqrt(var + 1e-5) * c).sum()

    inv = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    xn = (x - x.mean(1, keepdims=True)) * inv
    return f, {"x": x}, {"x": inv * (c - c.mean(0) - xn * (c * xn).mean(0))}


@case("db = dout.sum(axis=1), batch and width equal", "axis", W="", b="sum")
def bias_summed_over_the_other_axis() -> Any:
    x, c, W, b = normal(4, 3), normal(4, 4), normal(3, 4), normal(4)
    return lambda W, b: ((x @ W + b) * c).sum(), {"W": W, "b": b}, {"W": x.T @ c, "b": c.sum(1)}


@case("the last sample of a loop alone: = in place of +=", W="sum|path", b="sum|path")
def the_last_sample_alone() -> Any:
    x, y, W, b = normal(5, 3), normal(5, 2), normal(3, 2), normal(2)
    for i in range(5):
        d = x[i] @ W + b - y[i]
        gW, gb = np.outer(x[i], d), d

    def f(W: Any, b: Any) -> Any:
        return 0.5 * ((x @ W + b - y) ** 2).sum()

    return f, {"W": W, "b": b}, {"W": gW, "b": gb}


# Values


@case("muricoca/crab #74: the regularisation of the other factor", u="value|path|path + path", i="")
def regularised_with_the_other_factor() -> Any:
    u, i, r, reg = normal(4), normal(4, seed=1), 3.5, 0.2

    def f(u: Any, i: Any) -> Any:
        return 0.5 * (r - u @ i) ** 2 + 0.5 * reg * ((u * u).sum() + (i * i).sum())

    err = r - u @ i
    return f, {"u": u, "i": i}, {"u": -err * i + reg * i, "i": -err * u + reg * i}


@case("albertauyeung/matrix-factorization-in-python #3", P="", Q="value")
def matrix_factorisation_with_the_new_factor() -> Any:
    p = {"P": normal(3, 2), "Q": normal(4, 2)}
    i, j, r, beta, alpha = 1, 2, 3.0, 0.02, 0.1

    def step() -> None:
        P, Q = p["P"], p["Q"]
        e = r - P[i, :].dot(Q[j, :].T)
        P[i, :] += alpha * (e * Q[j, :] - beta * P[i, :])
        Q[j, :] += alpha * (e * P[i, :] - beta * Q[j, :])

    def loss() -> Any:
        P, Q = p["P"], p["Q"]
        return 0.5 * (r - P[i] @ Q[j]) ** 2 + 0.5 * beta * ((P[i] ** 2).sum() + (Q[j] ** 2).sum())

    return tg.audit_step(step, p, loss=loss, lr=alpha)


@case("epfml/ML_course #37: x is a view that has changed", xs="", ys="value")
def glove_with_a_view() -> Any:
    p = {"xs": normal(3, 2), "ys": normal(4, 2)}
    ix, jy, logn, eta = 1, 2, 1.3, 0.1

    def step() -> None:
        x, y = p["xs"][ix, :], p["ys"][jy, :]
        scale = 2 * eta * 0.7 * (logn - np.dot(x, y))
        p["xs"][ix, :] += scale * y
        p["ys"][jy, :] += scale * x

    return tg.audit_step(
        step, p, loss=lambda: 0.7 * (logn - p["xs"][ix] @ p["ys"][jy]) ** 2, lr=eta
    )


@case("zserge/nanonn #4: softplus' derivative at its output", x="value|derivative")
def softplus_at_its_output() -> Any:
    x, c = normal(8), normal(8, seed=1)
    return (
        lambda x: (tg.softplus(x) * c).sum(),
        {"x": x},
        {"x": c / (1 + np.exp(-np.logaddexp(0, x)))},
    )


@case("mlpack/mlpack #1540: Fn(y) + alpha of what is activated already", x="value|derivative")
def elu_twice() -> Any:
    x, c, alpha = normal(12), normal(12, seed=1), 0.8
    elu: Any = lambda x: np.where(x > 0, x, alpha * (np.exp(x) - 1))  # noqa: E731
    y = elu(x)

    def f(x: Any) -> Any:
        return (tg.where(x > 0, x, alpha * (tg.exp(x) - 1)) * c).sum()

    return f, {"x": x}, {"x": c * np.where(y > 0, 1, elu(y) + alpha)}


@case("tanh's derivative as 1 - z² of what goes in", W1="value|derivative", W2="")
def tanh_of_the_preactivation() -> Any:
    x, c, W1, W2 = normal(5, 3), normal(5, 2), normal(3, 4), normal(4, 2)
    z = x @ W1

    def f(W1: Any, W2: Any) -> Any:
        return (tg.tanh(x @ W1) @ W2 * c).sum()

    return f, {"W1": W1, "W2": W2}, {"W1": x.T @ (c @ W2.T * (1 - z**2)), "W2": np.tanh(z).T @ c}


@case("GRU from scratch: dU by h in place of r * h", U="value", W="", Wr="")
def gru_with_the_unreset_state() -> Any:
    return gru(reset=False)


def gru(reset: bool = True, through: bool = True) -> Any:
    """One step of a GRU: z given, r and the candidate computed."""
    x, h, c, z = normal(3, 2), normal(3, 4), normal(3, 4, seed=1), sigmoid(normal(3, 4, seed=2))
    p = {"Wr": normal(2, 4), "W": normal(2, 4, seed=1), "U": normal(4, 4), "h": h}

    def f(Wr: Any, W: Any, U: Any, h: Any) -> Any:
        r = tg.sigmoid(x @ Wr)
        return (((1 - z) * h + z * tg.tanh(x @ W + (r * h) @ U)) * c).sum()

    r = sigmoid(x @ p["Wr"])
    n = np.tanh(x @ p["W"] + (r * h) @ p["U"])
    d = c * z * (1 - n * n)
    drh = d @ p["U"].T
    given = {"W": x.T @ d, "U": (r * h if reset else h).T @ d, "Wr": x.T @ (drh * h * r * (1 - r))}
    given["h"] = c * (1 - z) + (drh * r if through else 0)
    return f, p, given


@case("GRU from scratch", U="", W="", Wr="", h="")
def gru_is_right() -> Any:
    return gru()


@case(
    "GRU from scratch: the state's gradient through the candidate is missing",
    U="",
    W="",
    Wr="",
    h="path",
)
def gru_without_the_candidate() -> Any:
    return gru(through=False)


def convolution(stride: int = 2, at: int = 2, flipped: bool = False, spatial: bool = True) -> Any:
    """A convolution by loops, as in the Coursera assignment."""
    m, n, k, F = 2, 5, 2, 2
    n_out = (n - k) // stride + 1
    A, W, b, dZ = normal(m, n, n), normal(k, k, F), normal(F), normal(m, n_out, n_out, F)

    def f(A: Any, W: Any, b: Any) -> Any:
        loss: Any = 0.0
        for i in range(n_out):
            for j in range(n_out):
                window = A[:, i * stride : i * stride + k, j * stride : j * stride + k]
                out = window.reshape(m, k * k) @ W.reshape(k * k, F) + b
                loss = loss + (out * dZ[:, i, j]).sum()
        return loss

    dA, dW, db = np.zeros_like(A), np.zeros_like(W), np.zeros_like(b)
    for s in range(m):
        for i in range(n_out):
            for j in range(n_out):
                for c in range(F):
                    v, h = i * at, j * at
                    w = W[::-1, ::-1, c] if flipped else W[:, :, c]
                    dA[s, v : v + k, h : h + k] += w * dZ[s, i, j, c]
                    dW[:, :, c] += A[s, v : v + k, h : h + k] * dZ[s, i, j, c]
                    db[c] += dZ[s, i, j, c]
    return f, {"A": A, "W": W, "b": b}, {"A": dA, "W": dW, "b": db if spatial else dZ.sum(0)}


@case(
    "Kulbear/deep-learning-coursera #34: the stride is missing in backward",
    A="value|path|elements",
    W="value|path",
    b="",
)
def convolution_without_stride() -> Any:
    return convolution(at=1)


@case(
    "convolution from scratch: the kernel is turned once too often", A="value|transpose", W="", b=""
)
def convolution_with_a_turned_kernel() -> Any:
    return convolution(flipped=True)


@case("convolution from scratch: db over the batch alone", A="", W="", b="sum")
def convolution_bias_over_the_batch() -> Any:
    return convolution(spatial=False)


@case("Coursera: conv_backward", A="", W="", b="")
def convolution_is_right() -> Any:
    return convolution()


@case("explosion/thinc #492: the input in place of the gradient", x0="value|derivative", x1="")
def the_input_in_place_of_the_gradient() -> Any:
    x0, x1, c0, c1 = (normal(3, 4, seed=i) for i in range(4))

    def f(x0: Any, x1: Any) -> Any:
        return (x0 * c0).sum() + (tg.tanh(x1) * c1).sum()

    return f, {"x0": x0, "x1": x1}, {"x0": x0, "x1": c1 * (1 - np.tanh(x1) ** 2)}


@case("relu's derivative by x[x <= 0] = 0; x[x > 0] = 1, in place", "mask", W1="", W2="value")
def relu_made_its_own_mask() -> Any:
    x, c, W1, W2 = normal(5, 3), normal(5, 2), normal(3, 4), normal(4, 2)
    h = np.maximum(x @ W1, 0)
    d = c @ W2.T
    h[h > 0] = 1

    def f(W1: Any, W2: Any) -> Any:
        return (tg.relu(x @ W1) @ W2 * c).sum()

    return f, {"W1": W1, "W2": W2}, {"W1": x.T @ (d * h), "W2": h.T @ c}


@case("dgamma by x in place of the normalised x", x="", gamma="value", beta="")
def gain_by_the_input() -> Any:
    f, p, given = batch_norm(
        lambda d, xn, inv, N: inv / N * (N * d - d.sum(0) - xn * (d * xn).sum(0))
    )
    return f, p, given | {"gamma": (normal(6, 4, seed=1) * p["x"]).sum(0)}


@case("a convolution that returns the gradient of what it padded", "padded", x="shape")
def padding_not_cut_off() -> Any:
    x, w, c, dp = normal(4, 4), normal(3, 3), normal(4, 4), np.zeros((6, 6))

    def f(x: Any) -> Any:
        p, loss = tg.pad(x, ((1, 1), (1, 1))), 0.0
        for i in range(4):
            for j in range(4):
                loss = loss + (p[i : i + 3, j : j + 3] * w).sum() * c[i, j]
        return loss

    for i in range(4):
        for j in range(4):
            dp[i : i + 3, j : j + 3] += w * c[i, j]
    return f, {"x": x}, {"x": dp}


# Two at once


@case(
    "sigmoid' at the activation, and the bias a mean",
    W1="value",
    b1="value + factor|factor + value",
    W2="",
    b2="factor",
)
def value_and_mean() -> Any:
    x, c = normal(5, 3), normal(5, 2)
    p = {"W1": normal(3, 4), "b1": normal(4), "W2": normal(4, 2), "b2": normal(2)}

    def f(W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        return ((tg.sigmoid(x @ W1 + b1) @ W2 + b2) * c).sum()

    h = sigmoid(x @ p["W1"] + p["b1"])
    d = c @ p["W2"].T * sigmoid(h) * (1 - sigmoid(h))
    return f, p, {"W2": h.T @ c, "b2": c.mean(0), "W1": x.T @ d, "b1": d.mean(0)}


@case("y - p without the mean, relu's mask forgotten", W2="sign|factor|sign + factor|factor + sign",
      W1="sign + mask|mask + sign|factor + mask|mask + factor|sign + factor + mask")  # fmt: skip
def sign_and_mask() -> Any:
    x, t, W1, W2 = normal(5, 3), np.array([0, 2, 1, 1, 0]), normal(3, 4), normal(4, 3)
    h = np.maximum(x @ W1, 0)
    d = one_hot(t, 3) - softmax(h @ W2)

    def f(W1: Any, W2: Any) -> Any:
        return tg.softmax_cross_entropy(tg.relu(x @ W1) @ W2, t)

    return f, {"W1": W1, "W2": W2}, {"W1": x.T @ (d @ W2.T), "W2": h.T @ d}


# Right, and easily accused


@case("rasmusbergpalm/DeepLearnToolbox #113 and hankcs/CS224n #17: d = y - t", W="", b="")
def softmax_with_cross_entropy_is_right() -> Any:
    x, t, W, b = normal(5, 3), one_hot(np.array([0, 2, 1, 1, 0]), 3), normal(3, 3), normal(1, 3)
    d = softmax(x @ W + b) - t

    def f(W: Any, b: Any) -> Any:
        return -(t * tg.log(tg.softmax(x @ W + b, axis=1))).sum()

    return f, {"W": W, "b": b}, {"W": x.T @ d, "b": d.sum(0, keepdims=True)}


@case("tinygrad/tinygrad #155: x^y log x", x="", y="")
def power_is_right() -> Any:
    x, y, c = 0.5 + normal(5) ** 2, normal(5, seed=1), normal(5, seed=2)

    def f(x: Any, y: Any) -> Any:
        return (x**y * c).sum()

    return f, {"x": x, "y": y}, {"x": c * y * x ** (y - 1), "y": c * x**y * np.log(x)}


@case("mish, by its closed form", x="")
def mish_is_right() -> Any:
    x, c = normal(9), normal(9, seed=1)
    w = 4 * (x + 1) + 4 * np.exp(2 * x) + np.exp(3 * x) + np.exp(x) * (4 * x + 6)
    d = 2 * np.exp(x) + np.exp(2 * x) + 2

    def f(x: Any) -> Any:
        return (x * tg.tanh(tg.softplus(x)) * c).sum()

    return f, {"x": x}, {"x": c * np.exp(x) * w / d**2}


@case("uptake/numpynet #35: relu and leaky relu at 0", x="")
def kinks_at_zero_are_right() -> Any:
    x, c = np.array([-1.0, 0, 2, 0, -0.5, 0]), normal(6)

    def f(x: Any) -> Any:
        return ((tg.relu(x) + tg.maximum(0.1 * x, x)) * c).sum()

    return f, {"x": x}, {"x": c * ((x >= 0) + np.where(x > 0, 1, 0.1))}


@case("cs231n: margins that are exactly 0", W="")
def svm_on_its_kinks_is_right() -> Any:
    return svm(rounded=True)


@case("cs231n: the naive SVM", W="")
def svm_is_right() -> Any:
    return svm()


@case("hard tanh and |x| on their borders", x="")
def borders_are_right() -> Any:
    x, c = np.array([-1.0, -0.3, 0.0, 1.0, 2.0, -4.0]), normal(6)

    def f(x: Any) -> Any:
        return (tg.clip(x, -1, 1) * c + abs(x)).sum()

    return f, {"x": x}, {"x": c * (abs(x) < 1) + np.sign(x)}


@case("a maximum's gradient shared by its ties", a="")
def shared_ties_are_right() -> Any:
    a, c = np.array([[1.0, 3, 3], [2, 0, 2], [4, 1, 0]]), np.array([0.7, -1.2, 0.4])
    mask = a == a.max(1)[:, None]
    return (
        lambda a: (a.max(axis=1) * c).sum(),
        {"a": a},
        {"a": c[:, None] * mask / mask.sum(1)[:, None]},
    )


@case("oreilly-japan/deep-learning-from-scratch: log(y + 1e-7)", W="|value")
def epsilon_in_the_logarithm() -> Any:
    x, t, W = normal(6, 4), np.array([0, 2, 1, 1, 0, 2]), normal(4, 3)
    d = softmax(x @ W) - one_hot(t, 3)

    def f(W: Any) -> Any:
        return -tg.log(tg.softmax(x @ W, axis=1)[np.arange(6), t] + 1e-7).sum() / 6

    return f, {"W": W}, {"W": x.T @ d / 6}


@case("gradients of finite differences, as in cs231n's eval_numerical_gradient", W="", b="")
def finite_differences_are_right() -> Any:
    x, W, b = normal(4, 3), normal(3, 2), normal(2)
    loss: Any = lambda W, b: (np.tanh(x @ W + b) ** 2).sum()  # noqa: E731

    def slope(name: str) -> Any:
        p = {"W": W.copy(), "b": b.copy()}
        g = np.zeros_like(p[name])
        for i in np.ndindex(g.shape):
            old = p[name][i]
            p[name][i] = old + 1e-5
            up = loss(**p)
            p[name][i] = old - 1e-5
            g[i] = (up - loss(**p)) / 2e-5
            p[name][i] = old
        return g

    def f(W: Any, b: Any) -> Any:
        return (tg.tanh(x @ W + b) ** 2).sum()

    return tg.audit(f, {"W": W, "b": b}, {"W": slope("W"), "b": slope("b")}, rtol=1e-4)


@case("momentum: the first step from rest", W="", b="")
def momentum_is_right() -> Any:
    x, y = normal(5, 3), normal(5, 2)
    p, v = {"W": normal(3, 2), "b": normal(2)}, {"W": 0.0, "b": 0.0}

    def step() -> Any:
        d = x @ p["W"] + p["b"] - y
        grads = {"W": x.T @ d / 5, "b": d.mean(0)}
        for k, grad in grads.items():
            v[k] = 0.9 * v[k] - 0.01 * grad
            p[k] = p[k] + v[k]

    return tg.audit_step(
        step, p, loss=lambda: 0.5 * ((x @ p["W"] + p["b"] - y) ** 2).sum() / 5, lr=0.01
    )


@case("L2 normalisation, grouped", x="")
def normalised_is_right() -> Any:
    x, c = normal(4, 3), normal(4, 3, seed=1)
    n = np.linalg.norm(x, axis=1, keepdims=True)
    y = x / n

    def f(x: Any) -> Any:
        return (x / tg.sqrt((x * x).sum(axis=1, keepdims=True)) * c).sum()

    return f, {"x": x}, {"x": (c - y * (y * c).sum(1, keepdims=True)) / n}


@case("a column for a vector", w="|shape", b="|shape")
def column_for_a_vector() -> Any:
    x, y, w, b = normal(6, 3), normal(6), normal(3), np.array(0.3)
    e = (x @ w + b - y)[:, None]

    def f(w: Any, b: Any) -> Any:
        return ((x @ w + b - y) ** 2).mean()

    return f, {"w": w, "b": b}, {"w": 2 * x.T @ e / 6, "b": np.array([2 * e.mean()])}


@case("GELU with erf", x="")
def gelu_is_right() -> Any:
    x, c = normal(8), normal(8, seed=1)
    phi = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    cdf = np.asarray(tg.normal_cdf(x).data)
    return lambda x: (x * tg.normal_cdf(x) * c).sum(), {"x": x}, {"x": c * (cdf + x * phi)}


def judged(one: Case) -> tuple[str, Any]:
    """What is not as expected, "" if all is, and the report."""
    made = one.make()
    report = tg.audit(*made) if isinstance(made, tuple) else made
    wrong = []
    for name, kinds in one.kinds.items():
        verdict = report[name]
        found = "" if verdict.right else verdict.kind
        if found not in kinds.split("|"):
            wrong.append(f"{name} is {kinds or 'right'}, not {found or 'right'}")
    if one.says not in str(report):
        wrong.append(f"the report does not say {one.says!r}")
    return "; ".join(wrong), report
