"""MeTRAbs: absolute metric 3D human pose from one RGB camera.

>>> import metrabs_core
>>> model = metrabs_core.load()
>>> prediction = model.detect_poses(image, intrinsic_matrix=K, skeleton="smpl_24")
"""


def load(path=None, warm_up_image_size=None):
    """Load a model: see ``metrabs_core.packaging.load``. TensorFlow is imported only now."""
    from metrabs_core import packaging

    return packaging.load(path, warm_up_image_size)
