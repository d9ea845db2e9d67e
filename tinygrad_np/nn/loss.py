"""Losses and distances as modules."""

from __future__ import annotations

from ..ops import cross_entropy, loss
from .function import as_module

_PAIR = "[0.25, 0.5], [1.0, 0.0]"

BCELoss = as_module(__name__, "BCELoss", loss.binary_cross_entropy, 2, example=_PAIR)
BCEWithLogitsLoss = as_module(
    __name__, "BCEWithLogitsLoss", loss.binary_cross_entropy_with_logits, 2, example=_PAIR
)
CosineSimilarity = as_module(
    __name__,
    "CosineSimilarity",
    loss.cosine_similarity,
    2,
    example="np.ones((1, 3)), np.eye(3)[:1]",
)
CrossEntropyLoss = as_module(
    __name__,
    "CrossEntropyLoss",
    cross_entropy.cross_entropy,
    2,
    example="np.array([[2.0, 1.0]]), [0]",
)
HingeEmbeddingLoss = as_module(
    __name__, "HingeEmbeddingLoss", loss.hinge_embedding_loss, 2, example="[0.25, 0.5], [1, -1]"
)
HuberLoss = as_module(__name__, "HuberLoss", loss.huber_loss, 2, example=_PAIR)
KLDivLoss = as_module(
    __name__, "KLDivLoss", loss.kl_div, 2, example="np.log([0.5, 0.5]), [0.25, 0.75]"
)
L1Loss = as_module(__name__, "L1Loss", loss.l1_loss, 2, example=_PAIR)
MarginRankingLoss = as_module(
    __name__,
    "MarginRankingLoss",
    loss.margin_ranking_loss,
    3,
    example="[0.25, 0.5], [1.0, 0.0], [1, -1]",
)
MSELoss = as_module(__name__, "MSELoss", loss.mse_loss, 2, example=_PAIR)
NLLLoss = as_module(
    __name__, "NLLLoss", cross_entropy.nll_loss, 2, example="np.log([[0.5, 0.5]]), [0]"
)
PairwiseDistance = as_module(
    __name__,
    "PairwiseDistance",
    loss.pairwise_distance,
    2,
    example="np.ones((1, 3)), np.eye(3)[:1]",
)
PoissonNLLLoss = as_module(__name__, "PoissonNLLLoss", loss.poisson_nll_loss, 2, example=_PAIR)
SmoothL1Loss = as_module(__name__, "SmoothL1Loss", loss.smooth_l1_loss, 2, example=_PAIR)
SoftMarginLoss = as_module(
    __name__, "SoftMarginLoss", loss.soft_margin_loss, 2, example="[0.25, 0.5], [1, -1]"
)
