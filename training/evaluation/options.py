"""What a user may ask of a protocol."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Variations of the protocols; each protocol refuses what it does not know.

    Attributes:
        procrustes: align each prediction to the truth by a similarity transform first.
        universal_skeleton: compare to poses of normalized height (MPI-INF-3DHP).
        smoothing: "", "causal" or "acausal" (3DPW).
        allow_missing: evaluate the rest if annotation files or predictions are missing.
    """

    procrustes: bool = False
    universal_skeleton: bool = False
    smoothing: str = ""
    allow_missing: bool = False
