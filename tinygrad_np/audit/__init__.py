"""The audit: gradients derived by hand are held against autograd's, and mistakes are named.

``audit`` is what people call, and ``judge`` does the work: ``trace`` runs f and its backward pass
with mistakes in it, ``hypotheses`` says which mistakes to try, ``search`` finds the fewest that
explain what was given, ``fit`` mends shapes, ``numbers`` names factors, ``report`` is the result.
"""

from .audit import audit
from .report import AuditReport, Diagnosis, Verdict

__all__ = ["AuditReport", "Diagnosis", "Verdict", "audit"]
