"""Layers in plain NumPy, in the styles that people write them in, each with mistakes to switch on.

``self.slip`` (or the argument ``slip``) names the mistake that is made; "" makes none.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


class Affine:
    """Gradients left in attributes; the input is flattened."""

    def __init__(self, n_in: int, n_out: int, slip: str = "") -> None:
        self.W = 0.5 * np.random.default_rng(1).normal(size=(n_in, n_out))
        self.b = np.zeros(n_out) + 0.1
        self.x: Any = None
        self.dW: Any = None
        self.db: Any = None
        self.slip = slip

    def forward(self, x: Any) -> Any:
        self.shape = x.shape
        x = x.reshape(x.shape[0], -1)
        self.x = x
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout: Any) -> Any:
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        if self.slip == "mean":
            self.db = np.mean(dout, axis=0)
        if self.slip == "sign":
            self.dW = -self.dW
        if self.slip == "rows":
            self.db = dout
        return dx.reshape(*self.shape)


class Relu:
    """In place, by a mask of booleans."""

    def __init__(self, slip: str = "") -> None:
        self.mask: Any = None
        self.slip = slip

    def forward(self, x: Any) -> Any:
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: Any) -> Any:
        if self.slip == "missing":
            return dout
        if self.slip == "of g":
            return np.maximum(dout, 0)
        if self.slip == "inverted":
            dout[~self.mask] = 0
            return dout
        dout[self.mask] = 0
        return dout


class BatchNorm:
    """Running statistics, gradients in a dict."""

    def __init__(self, d: int, slip: str = "") -> None:
        rng = np.random.default_rng(2)
        self.params = {"gamma": rng.normal(size=d), "beta": rng.normal(size=d)}
        self.grads: dict[str, Any] = {}
        self.running_mean = np.zeros(d)
        self.eps = 1e-5
        self.slip = slip

    def forward(self, x: Any, training: bool = True) -> Any:
        mu = x.mean(axis=0)
        self.xc = x - mu
        self.var = np.mean(self.xc**2, axis=0)
        self.std = np.sqrt(self.var + self.eps)
        self.xn = self.xc / self.std
        self.running_mean = 0.9 * self.running_mean + 0.1 * mu
        return self.params["gamma"] * self.xn + self.params["beta"]

    def backward(self, dout: Any) -> Any:
        n = len(dout)
        self.grads["beta"] = dout.sum(axis=0)
        self.grads["gamma"] = (dout * self.xn).sum(axis=0)
        dxn = dout * self.params["gamma"]
        if self.slip == "gamma":
            dxn = dout
        dxc = dxn / self.std
        dstd = -np.sum(dxn * self.xc / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        if self.slip != "variance":
            dxc += (2.0 / n) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        if self.slip == "mean":
            return dxc
        return dxc - dmu / n


class LayerNorm:
    """One object with forward as a call."""

    def __init__(self, d: int, slip: str = "") -> None:
        rng = np.random.default_rng(3)
        self.g, self.b = 1 + 0.3 * rng.normal(size=d), rng.normal(size=d)
        self.slip = slip

    def __call__(self, x: Any) -> Any:
        self.mu = x.mean(-1, keepdims=True)
        self.inv = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        self.xhat = (x - self.mu) * self.inv
        return self.xhat * self.g + self.b

    def backward(self, dy: Any) -> Any:
        axes = tuple(range(dy.ndim - 1))
        self.grad_g = (dy * self.xhat).sum(axes)
        self.grad_b = dy.sum(axes)
        if self.slip == "bias":
            self.grad_b = self.grad_b / len(dy)
        d = dy * self.g
        if self.slip == "g":
            d = dy
        m2 = (d * self.xhat).mean(-1, keepdims=True)
        if self.slip == "variance":
            m2 = 0
        return self.inv * (d - d.mean(-1, keepdims=True) - self.xhat * m2)


class Dropout:
    """The mask is drawn inside."""

    def __init__(self, p: float = 0.4, slip: str = "") -> None:
        self.p, self.slip = p, slip

    def forward(self, x: Any, train: bool = True) -> Any:
        self.mask = (np.random.rand(*x.shape) > self.p) / (1 - self.p)
        return x * self.mask

    def backward(self, dout: Any) -> Any:
        if self.slip == "missing":
            return dout
        if self.slip == "scale":
            return dout * (self.mask > 0)
        if self.slip == "twice":
            return dout * self.mask * self.mask
        return dout * self.mask


class Conv:
    """Convolution by loops, with padding."""

    def __init__(self, filters: int, channels: int, k: int, pad: int = 1, slip: str = "") -> None:
        rng = np.random.default_rng(4)
        self.W = 0.3 * rng.normal(size=(filters, channels, k, k))
        self.b = rng.normal(size=filters)
        self.pad, self.slip = pad, slip

    def forward(self, x: Any) -> Any:
        n, _, h, w = x.shape
        f, _, k, _ = self.W.shape
        self.x = np.pad(x, ((0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)))
        oh, ow = h + 2 * self.pad - k + 1, w + 2 * self.pad - k + 1
        out = np.zeros((n, f, oh, ow))
        for i in range(n):
            for j in range(f):
                for a in range(oh):
                    for c in range(ow):
                        window = self.x[i, :, a : a + k, c : c + k]
                        out[i, j, a, c] = np.sum(window * self.W[j]) + self.b[j]
        return out

    def backward(self, dout: Any) -> Any:
        n, f, oh, ow = dout.shape
        k = self.W.shape[-1]
        dx = np.zeros_like(self.x)
        self.dW = np.zeros_like(self.W)
        self.db = np.zeros_like(self.b)
        for i in range(n):
            for j in range(f):
                for a in range(oh):
                    for c in range(ow):
                        g = dout[i, j, a, c]
                        part = g * self.W[j]
                        if self.slip == "overwritten":
                            dx[i, :, a : a + k, c : c + k] = part
                        else:
                            dx[i, :, a : a + k, c : c + k] += part
                        if self.slip == "last":
                            self.dW[j] = g * self.x[i, :, a : a + k, c : c + k]
                        else:
                            self.dW[j] += g * self.x[i, :, a : a + k, c : c + k]
                        self.db[j] += g
        if self.slip == "bias":
            self.db = dout.mean(axis=(0, 2, 3))
        p = self.pad
        return dx[:, :, p:-p, p:-p]


class MaxPool:
    """Max pooling by loops."""

    def __init__(self, size: int = 2, slip: str = "") -> None:
        self.size, self.slip = size, slip

    def forward(self, x: Any) -> Any:
        self.x = x
        n, c, h, w = x.shape
        s = self.size
        out = np.zeros((n, c, h // s, w // s))
        for i in range(h // s):
            for j in range(w // s):
                out[:, :, i, j] = np.max(x[:, :, i * s : i * s + s, j * s : j * s + s], axis=(2, 3))
        return out

    def backward(self, dout: Any) -> Any:
        s = self.size
        dx = np.zeros_like(self.x)
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                window = self.x[:, :, i * s : i * s + s, j * s : j * s + s]
                mask = window == window.max(axis=(2, 3), keepdims=True)
                if self.slip == "mask":
                    mask = np.ones_like(mask)
                dx[:, :, i * s : i * s + s, j * s : j * s + s] = mask * dout[:, :, i, j, None, None]
                if self.slip == "first":
                    return dx
        if self.slip == "mean":
            dx = dx / (s * s)
        return dx


class Embedding:
    """Rows of a table, which may be asked for more than once."""

    def __init__(self, words: int, d: int, slip: str = "") -> None:
        self.W = np.random.default_rng(5).normal(size=(words, d))
        self.slip = slip

    def forward(self, ids: Any) -> Any:
        self.ids = ids
        return self.W[ids]

    def backward(self, dout: Any) -> None:
        self.dW = np.zeros_like(self.W)
        if self.slip == "repeated":
            self.dW[self.ids] += dout
        elif self.slip == "mean":
            np.add.at(self.dW, self.ids, dout / len(self.ids))
        elif self.slip == "sign":
            np.add.at(self.dW, self.ids, -dout)
        else:
            np.add.at(self.dW, self.ids, dout)


class RNN:
    """A recurrent layer with states in a list; samples by rows."""

    def __init__(self, d: int, h: int, slip: str = "") -> None:
        rng = np.random.default_rng(6)
        self.Wx, self.Wh = rng.normal(size=(d, h)), 0.7 * rng.normal(size=(h, h))
        self.b = rng.normal(size=h)
        self.slip = slip

    def forward(self, x: Any) -> Any:
        n, t, _ = x.shape
        h = np.zeros((n, self.Wh.shape[0]))
        self.x, self.hs = x, [h]
        out = np.empty((n, t, self.Wh.shape[0]))
        for i in range(t):
            h = np.tanh(x[:, i] @ self.Wx + h @ self.Wh + self.b)
            self.hs.append(h)
            out[:, i, :] = h
        return out

    def backward(self, dout: Any) -> Any:
        dx = np.zeros(self.x.shape)
        self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
        self.db = np.zeros_like(self.b)
        carry = 0
        for i in reversed(range(dout.shape[1])):
            h = self.hs[i + 1]
            dz = (dout[:, i] + carry) * (1 - h**2)
            if self.slip == "value":
                dz = (dout[:, i] + carry) * (1 - np.tanh(h) ** 2)
            self.dWx += self.x[:, i].T @ dz
            self.dWh += self.hs[i + (self.slip == "late")].T @ dz
            self.db += dz.sum(axis=0)
            dx[:, i] = dz @ self.Wx.T
            carry = dz @ self.Wh.T
            if self.slip == "carry":
                carry = 0
        return dx


class LSTM:
    """One matrix for the four gates, samples as columns, all states in dicts."""

    def __init__(self, d: int, h: int, slip: str = "") -> None:
        rng = np.random.default_rng(7)
        self.W = 0.6 * rng.normal(size=(4 * h, d + h))
        self.b = 0.3 * rng.normal(size=(4 * h, 1))
        self.h, self.slip = h, slip

    def forward(self, xs: Any) -> Any:
        n = self.h
        self.xs, self.z, self.gates = xs, {}, {}
        self.hs = {-1: np.zeros((n, xs.shape[2]))}
        self.cs = {-1: np.zeros((n, xs.shape[2]))}
        for t in range(len(xs)):
            self.z[t] = np.vstack((self.hs[t - 1], xs[t]))
            a = np.dot(self.W, self.z[t]) + self.b
            i, f, o = sigmoid(a[:n]), sigmoid(a[n : 2 * n]), sigmoid(a[2 * n : 3 * n])
            g = np.tanh(a[3 * n :])
            self.gates[t] = i, f, o, g
            self.cs[t] = f * self.cs[t - 1] + i * g
            self.hs[t] = o * np.tanh(self.cs[t])
        return np.array([self.hs[t] for t in range(len(xs))])

    def backward(self, dh_all: Any) -> Any:
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)
        dxs = np.zeros_like(self.xs)
        dh_next, dc_next = np.zeros_like(self.hs[0]), np.zeros_like(self.cs[0])
        for t in reversed(range(len(self.xs))):
            i, f, o, g = self.gates[t]
            dh = dh_all[t] + dh_next
            tc = np.tanh(self.cs[t])
            dc = dc_next + dh * o * (1 - tc * tc)
            if self.slip == "tanh":
                dc = dc_next + dh * o
            di, df, do, dg = dc * g, dc * self.cs[t - 1], dh * tc, dc * i
            da = np.vstack((di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g)))
            if self.slip == "gate":
                da = np.vstack((di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg))
            self.dW += da @ self.z[t].T
            self.db += da.sum(axis=1, keepdims=True)
            dz = self.W.T @ da
            dh_next, dc_next = dz[: self.h], dc * f
            if self.slip == "cell":
                dc_next = np.zeros_like(dc)
            dxs[t] = dz[self.h :]
        return dxs


class Attention:
    """Single-head self-attention with four weights."""

    def __init__(self, d: int, slip: str = "") -> None:
        rng = np.random.default_rng(8)
        self.Wq, self.Wk, self.Wv, self.Wo = (rng.normal(size=(d, d)) for _ in range(4))
        self.d, self.slip = d, slip

    def forward(self, x: Any) -> Any:
        self.x = x
        self.q, self.k, self.v = x @ self.Wq, x @ self.Wk, x @ self.Wv
        s = self.q @ self.k.transpose(0, 2, 1) / np.sqrt(self.d)
        s = s - s.max(axis=-1, keepdims=True)
        e = np.exp(s)
        self.a = e / e.sum(axis=-1, keepdims=True)
        self.y = self.a @ self.v
        return self.y @ self.Wo

    def backward(self, g: Any) -> Any:
        x, d = self.x, self.d
        self.dWo = np.einsum("nti,ntj->ij", self.y, g)
        dy = g @ self.Wo.T
        da = dy @ self.v.transpose(0, 2, 1)
        dv = self.a.transpose(0, 2, 1) @ dy
        ds = self.a * (da - (da * self.a).sum(axis=-1, keepdims=True))
        if self.slip == "softmax":
            ds = self.a * (1 - self.a) * da
        if self.slip != "scale":
            ds = ds / np.sqrt(d)
        dq, dk = ds @ self.k, ds.transpose(0, 2, 1) @ self.q
        self.dWq = np.einsum("nti,ntj->ij", x, dq)
        self.dWk = np.einsum("nti,ntj->ij", x, dk)
        self.dWv = np.einsum("nti,ntj->ij", x, dv)
        dx = dq @ self.Wq.T + dk @ self.Wk.T + dv @ self.Wv.T
        if self.slip == "path":
            dx = dq @ self.Wq.T + dk @ self.Wk.T
        return dx


class SoftmaxWithLoss:
    """The loss of labels; backward() takes a factor."""

    def __init__(self, slip: str = "") -> None:
        self.slip = slip

    def forward(self, x: Any, t: Any) -> Any:
        self.t = t
        x = x - np.max(x, axis=1, keepdims=True)
        self.y = np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)
        n = x.shape[0]
        return -np.sum(np.log(self.y[np.arange(n), t])) / n

    def backward(self, dout: float = 1) -> Any:
        n = self.t.shape[0]
        dx = self.y.copy()
        dx[np.arange(n), self.t] -= 1
        if self.slip == "batch":
            return dx
        if self.slip == "sign":
            return -dx / n
        if self.slip == "first":
            dx[1:] = 0
        return dx / n


class TwoLayerNet:
    """A network with its own update."""

    def __init__(self, d: int, h: int, k: int, slip: str = "") -> None:
        rng = np.random.default_rng(9)
        self.params = {
            "W1": rng.normal(size=(d, h)), "b1": 0.1 * rng.normal(size=h),
            "W2": rng.normal(size=(h, k)), "b2": 0.1 * rng.normal(size=k),
        }  # fmt: skip
        self.slip = slip

    def scores(self, x: Any) -> Any:
        p = self.params
        return np.maximum(0, x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]

    def loss(self, x: Any, y: Any, reg: float = 0.05) -> Any:
        s = self.scores(x)
        s = s - s.max(axis=1, keepdims=True)
        p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
        data = -np.log(p[range(len(y)), y]).mean()
        w1, w2 = self.params["W1"], self.params["W2"]
        return data + 0.5 * reg * (np.sum(w1 * w1) + np.sum(w2 * w2))

    def train_step(self, x: Any, y: Any, lr: float = 0.1, reg: float = 0.05) -> None:
        p = self.params
        h = np.maximum(0, x @ p["W1"] + p["b1"])
        s = h @ p["W2"] + p["b2"]
        d = np.exp(s - s.max(axis=1, keepdims=True))
        d /= d.sum(axis=1, keepdims=True)
        d[range(len(y)), y] -= 1
        d /= len(y)
        d_w2, d_b2 = h.T @ d + reg * p["W2"], d.sum(axis=0)
        if self.slip == "reg":
            d_w2 = h.T @ d
        if self.slip == "early":
            p["W2"] -= lr * d_w2
        dh = d @ p["W2"].T
        if self.slip != "relu":
            dh[h <= 0] = 0
        d_w1, d_b1 = x.T @ dh + reg * p["W1"], dh.sum(axis=0)
        p["W1"] -= lr * d_w1
        p["b1"] -= lr * d_b1
        if self.slip != "early":
            p["W2"] -= lr * d_w2
        p["b2"] -= lr * d_b2
