"""The numbers by which people are found, cropped and judged.

There is code for that in TensorFlow, for graphs, and in NumPy, for prepared models (``metrabs_core.prepared``). Both
take the numbers from here.
"""

from functools import cache

import numpy as np

# --- Finding people (detection/single_shot.py) ---

# At most so many boxes where no limit is given.
MAX_BOXES = 200
# Where a pixel of the detector's picture covers more of the image than this per side, interpolation would leave pixels
# out: there, areas are averaged.
MAX_INTERPOLATED = 2.0

# --- Crops (cropping.py) ---

# Pixels of an averaged window per pixel of the crop and side: with one, averaging and interpolation together blur too
# much. Against crops drawn 8 times larger, 1.25 has 0.6 of the error of 1 and takes 6 % longer, 1.5 has 0.5 and 28 %.
OVERSAMPLING = 1.25
# Where a window pixel covers more than this many image pixels per side, only every second, third... of them is read.
MAX_AVERAGED = 4.0
# Window pixels around the person's window, so that interpolation at its border finds the image.
WINDOW_MARGIN = 2.0

# --- Test-time augmentation (T-BIOM 2021 and the released models; estimator.py) ---

# Zoom of the first crop, of the one in the middle and of the last.
SCALES = (0.8, 1.0, 1.1)
# Exponent of the first and of the last.
GAMMAS = (0.6, 1.0)

# --- Plausibility of a pose (released models since 2021; plausibility.py) ---

BONE_RATIOS = (0.1, 3.0)
BONE_ERROR_MM = 300.0
AGREEMENT_MM = 200.0
AGREEING_FRACTION = 0.25
BOX_COVERAGE = 0.5
# Joints lie inside the body: its outline reaches this fraction of the longer side beyond the box around them.
FLESH = 0.1
# Two poses are of one person where the mean over the closest quarter of the joints of max(0, 1 - distance / 300 mm)
# exceeds 0.4.
SAME_DISTANCE_MM = 300.0
SAME_FRACTION = 0.25
SAME_SIMILARITY = 0.4
# Two detections of one person may come out at distances that differ by this factor.
SAME_DISTANCE_RATIO = 1.3


@cache
def crop_outline(side: int) -> np.ndarray:
    """Middle of a crop, the pixels right of it and below it, then points along its border: float64 [n, 2], pixels."""
    along = np.linspace(-1, 1, 9)
    one = np.ones_like(along)
    border = np.concatenate([np.stack(p, -1) for p in [(along, one), (along, -one), (one, along), (-one, along)]])
    return np.concatenate([[[0, 0], [1, 0], [0, 1]], border * side / 2]) + (side - 1) / 2
