"""``models.convolution`` in plain NumPy: a product for each image, its windows as columns."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .trained import Array, Trained


def by_hand(start: list[Array]) -> Trained:
    """Forward and backward, image by image, so that its columns stay in the cache."""
    weight, bias = start[:2]
    W = weight.reshape(len(weight), -1)
    results: list[Array] = []

    def step(x: Array, g: Array) -> Array:
        n, channels, height, width = x.shape
        padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
        y, dW = np.empty_like(g), np.zeros_like(W)
        dpadded = np.zeros_like(padded)
        for i in range(n):
            windows = sliding_window_view(padded[i], (3, 3), axis=(1, 2))
            columns = windows.transpose(0, 3, 4, 1, 2).reshape(9 * channels, height * width)
            y[i] = (W @ columns).reshape(g.shape[1:])
            delta = g[i].reshape(len(W), -1)
            dW += delta @ columns.T
            dcolumns = (W.T @ delta).reshape(channels, 3, 3, height, width)
            for row in range(3):
                for column in range(3):
                    part = dpadded[i, :, row : row + height, column : column + width]
                    part += dcolumns[:, row, column]
        y += bias[:, np.newaxis, np.newaxis]
        dx = dpadded[:, :, 1:-1, 1:-1]
        results[:] = y, dx, dW.reshape(weight.shape), g.sum(axis=(0, 2, 3))
        return y

    return Trained(step, lambda: [weight, bias, *results], read=lambda y: float(y.sum()))
