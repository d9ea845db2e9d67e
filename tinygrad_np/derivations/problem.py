"""The error of derivations."""


class DerivationError(ValueError):
    """A graph that cannot be written out as plain NumPy; the message says why, and what to do."""
