"""Models that are ready to run on the processor, without TensorFlow.

What a step of ``metrabs_core.pipeline`` needs of a model are two networks and some geometry. Here the networks are
files that LiteRT runs, TensorFlow's runtime for small machines, which is also faster on large ones' processors; and
the geometry is NumPy and OpenCV. ``conversion.py``, which needs TensorFlow, makes the files, once; they are kept in the
cache folder. The results are those of ``metrabs_core.combined``; the tests compare them.
"""

from metrabs_core.prepared.cache import load_prepared, prepare
from metrabs_core.prepared.model import PreparedModel

__all__ = ["PreparedModel", "load_prepared", "prepare"]
