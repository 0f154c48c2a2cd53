"""MeTRAbs: absolute metric 3D human pose from one RGB camera.

>>> import metrabs_core
>>> model = metrabs_core.load()
>>> prediction = model.detect_poses(image, intrinsic_matrix=K, skeleton="smpl_24")
"""

import importlib.util
import sys


def load(path=None, warm_up_image_size=None, detector_input_side=None):
    """Load a model by name or path: see ``metrabs_core.packaging.load``. TensorFlow is imported only now."""
    _import_tensorflow()
    from metrabs_core import packaging

    return packaging.load(path, warm_up_image_size, detector_input_side)


def load_prepared(path=None, detector_input_side=None):
    """Load a model for ``detect_poses`` and ``metrabs_core.pipeline``: see ``metrabs_core.prepared.load_prepared``.

    On a processor that is faster, and it takes a fraction of the memory, as TensorFlow is not needed.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        return load(path, None, detector_input_side)
    from metrabs_core import prepared

    return prepared.load_prepared(path, detector_input_side)


def _import_tensorflow():
    from metrabs_core.process import import_tensorflow_alone

    try:
        import_tensorflow_alone()
    except ModuleNotFoundError as error:
        from metrabs_core.errors import UserError

        raise UserError(
            f"TensorFlow is not installed for this Python ({sys.version.split()[0]}): it has packages for Python 3.10 "
            "to 3.13. The README says how to install it."
        ) from error
