"""Hand-written NumPy as it is usually written: plain formulas, in place where that is as short."""

from __future__ import annotations

import numpy as np

from .libraries import Training
from .workloads import LEARNING_RATE, Array, Problem


def training(problem: Problem) -> Training:
    parameters = problem.copies()
    weights, biases = parameters[::2], parameters[1::2]
    last = len(weights) - 1
    sigmoid = problem.workload.activation == "sigmoid"
    rows = np.arange(problem.workload.batch)

    def step(x: Array, labels: Array) -> np.floating:
        inputs = [x]
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            z = inputs[-1] @ W
            z += b
            if sigmoid:
                np.negative(z, out=z)
                np.exp(z, out=z)
                z += 1
                np.reciprocal(z, out=z)
            else:
                np.maximum(z, 0, out=z)
            inputs.append(z)
        logits = inputs[-1] @ weights[-1]
        logits += biases[-1]

        logits -= logits.max(axis=1, keepdims=True)
        picked = logits[rows, labels]
        y = np.exp(logits, out=logits)
        total = y.sum(axis=1, keepdims=True)
        loss: np.floating = (np.log(total[:, 0]) - picked).mean()

        y /= total
        y[rows, labels] -= 1
        y /= len(x)
        delta = y
        for i in range(last, -1, -1):
            z = inputs[i]
            dW, db = z.T @ delta, delta.sum(axis=0)
            if i > 0:
                delta = delta @ weights[i].T
                if sigmoid:
                    delta *= z
                    delta *= 1 - z
                else:
                    delta *= z > 0
            dW *= LEARNING_RATE
            db *= LEARNING_RATE
            weights[i] -= dW
            biases[i] -= db
        return loss

    return Training(step, problem.batches, lambda: parameters)
