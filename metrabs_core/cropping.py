"""Person crops: what virtual cameras would see that were turned from the real camera toward each person.

All crops of all people in all images are made in one call. The work depends on the size of the crops, not of the
images: only the window of the image that a person's crops show is read, once for all of them, and where it has more
pixels than the crops it is averaged down (sparsely if it has many more), which is the anti-aliasing.
"""

import numpy as np
import tensorflow as tf

from metrabs_core import geometry, rules
from metrabs_core.cameras import LENS_STEP, MIN_DEPTH

# Adds a shift to both coordinates of homogeneous pixels.
_SHIFT = np.float32([[0, 0, 1], [0, 0, 1], [0, 0, 0]])


def read_windows(images, image_index, cameras, rotation, crop_focal, crop_side, antialias_factor):
    """Read what the crops of each person show, averaged down to about the resolution of the crops.

    Args:
        images: uint8 [n_images, H, W, 3].
        image_index: int32 [n], which image each person is in.
        cameras: ``geometry.Cameras`` [n], of each person's image.
        rotation: float32 [n, m, 3, 3], from the image camera's frame to those of m crop cameras (a mirroring may be
            part of it).
        crop_focal: float32 [n, m], focal lengths of the crop cameras in pixels; their principal points are the crops'
            middles.
        crop_side: side P of the crops in pixels, a Python int.
        antialias_factor: int32 [], crops are drawn this many times larger and averaged down.

    Returns:
        dict for ``draw_crops``: ``pixels``, a TensorArray of float32 [h, w, 3], 0..255; ``cameras`` [n], of those
        windows; ``is_pinhole`` bool [n], whether a homography is all that the crops need.
    """
    points = np.pad(rules.crop_outline(crop_side), [(0, 0), (0, 1)], constant_values=1).astype(np.float32)
    outline_rays = geometry.transform(_pixel_to_ray(rotation, crop_focal, crop_side), points)
    outline = cameras[:, tf.newaxis].project(outline_rays)
    is_pinhole = cameras.is_pinhole & tf.reduce_all(
        outline_rays[..., 2] > MIN_DEPTH * tf.norm(outline_rays, axis=-1), axis=[1, 2]
    )
    steps = tf.norm(outline[:, :, 1:3] - outline[:, :, :1], axis=-1)
    scales = tf.sqrt(tf.reduce_prod(steps, axis=-1)) / tf.cast(antialias_factor, tf.float32)
    # crops of one person differ little in scale
    scale = tf.sqrt(tf.reduce_min(scales, axis=1) * tf.reduce_max(scales, axis=1)) / rules.OVERSAMPLING
    windows = _windows(outline, scale, tf.shape(images)[1:3])

    def read(i, pixels):
        window = {name: values[i] for name, values in windows.items()}
        return i + 1, pixels.write(i, _read_window(images, image_index[i], window))

    n_people = tf.shape(image_index)[0]
    pixels = tf.TensorArray(
        tf.float32, n_people, clear_after_read=False, infer_shape=False, element_shape=[None, None, 3]
    )
    _, pixels = tf.while_loop(lambda i, _: i < n_people, read, (0, pixels))
    return {
        "pixels": pixels,
        "cameras": cameras.resampled(windows["origin"], windows["cell"]),
        "is_pinhole": is_pinhole,
    }


def draw_crops(windows, person, rotation, crop_focal, gamma, crop_side, antialias_factor):
    """Draw perspective-corrected, undistorted, anti-aliased crops.

    Args:
        windows: what ``read_windows`` returned.
        person: int32 [n], whose window each crop is drawn from.
        rotation: float32 [n, 3, 3], as for ``read_windows``.
        crop_focal: float32 [n], as for ``read_windows``.
        gamma: float32 [n], exponent applied to the values 0..1.
        crop_side: as for ``read_windows``.
        antialias_factor: as for ``read_windows``.

    Returns:
        float32 [n, P, P, 3], 0..1. What the image does not show is black.
    """
    # pixels of the larger picture that is drawn and averaged down
    side, step = crop_side * antialias_factor, 1.0 / tf.cast(antialias_factor, tf.float32)
    from_larger = tf.linalg.diag(tf.stack([step, step, 1.0])) + (step - 1.0) / 2.0 * _SHIFT
    to_ray = geometry.compose(_pixel_to_ray(rotation, crop_focal, crop_side), from_larger)
    homography = geometry.compose(tf.gather(windows["cameras"].intrinsic_matrix, person), to_ray)

    def draw(crop):
        window = windows["pixels"].read(crop["person"])
        drawn = tf.cond(
            windows["is_pinhole"][crop["person"]],
            lambda: _warp_pinhole(window, crop["homography"], side),
            lambda: _warp_distorted(window, windows["cameras"][crop["person"]], crop["to_ray"], side),
        )
        drawn = tf.cond(antialias_factor == 1, lambda: drawn, lambda: _resize_area(drawn, [crop_side, crop_side]))
        return tf.ensure_shape(drawn, [crop_side, crop_side, 3])

    crops = tf.map_fn(
        draw,
        {"person": person, "homography": homography, "to_ray": to_ray},
        fn_output_signature=tf.TensorSpec([crop_side, crop_side, 3], tf.float32),
    )
    crops /= 255.0
    exponent = gamma[:, tf.newaxis, tf.newaxis, tf.newaxis]
    # a fifth of the time of tf.pow
    return tf.cond(tf.reduce_all(gamma == 1.0), lambda: crops, lambda: tf.exp(exponent * tf.math.log(crops)))


def _pixel_to_ray(rotation, crop_focal, crop_side):
    """Matrices from homogeneous crop pixels to rays, of any length, in the image camera's frame: [..., 3, 3]."""
    middle = (crop_side - 1.0) / 2.0
    # (x - middle, y - middle, focal) in the crop camera's frame
    from_middle = np.float32([[1, 0, -middle], [0, 1, -middle], [0, 0, 0]])
    in_crop_frame = from_middle + crop_focal[..., tf.newaxis, tf.newaxis] * np.diag([0, 0, 1]).astype(np.float32)
    return geometry.compose(tf.linalg.matrix_transpose(rotation), in_crop_frame)


def _windows(outline, scale, image_size):
    """Which part of the image is read for each person, and how coarsely.

    Args:
        outline: float32 [n, m, k, 2], pixels that enclose what m crops show.
        scale: float32 [n], pixels of the image per pixel of the window.
        image_size: int32 [2], height and width.

    Returns:
        dict of ``start`` and ``stop`` int32 [n, 2] (x, y; stop excluded), ``stride`` int32 [n], ``size`` int32 [n, 2]
        (width and height after averaging), ``origin`` and ``cell`` float32 [n, 2]: the pixel i of the averaged window
        has its centre at ``origin + cell * i`` in the image.
    """
    last = tf.cast(tf.gather(image_size, [1, 0]), tf.float32) - 1.0
    margin = rules.WINDOW_MARGIN * tf.maximum(scale, 1.0)[:, tf.newaxis]
    start = tf.clip_by_value(tf.floor(tf.reduce_min(outline, axis=[1, 2]) - margin), 0.0, last)
    final = tf.clip_by_value(tf.math.ceil(tf.reduce_max(outline, axis=[1, 2]) + margin), start, last)
    stride = tf.maximum(tf.floor(scale / rules.MAX_AVERAGED), 1.0)[:, tf.newaxis]
    n_read = tf.floor((final - start) / stride) + 1.0
    size = tf.math.ceil(n_read / tf.maximum(scale[:, tf.newaxis] / stride, 1.0))
    averaged = n_read / size
    windows = {"start": start, "stop": final + 1.0, "stride": stride[:, 0], "size": size}
    return {
        **{name: tf.cast(value, tf.int32) for name, value in windows.items()},
        "origin": start + stride * (averaged - 1.0) / 2.0,
        "cell": stride * averaged,
    }


def _read_window(images, image_index, window):
    """float32 [h, w, 3], 0..255: the window of one person, averaged down."""
    (left, top), (right, bottom), stride = tf.unstack(window["start"]), tf.unstack(window["stop"]), window["stride"]
    pixels = images[image_index, top:bottom:stride, left:right:stride]
    width, height = tf.unstack(window["size"])
    size = tf.stack([height, width])
    averaged = tf.cond(
        tf.reduce_all(size == tf.shape(pixels)[:2]),
        lambda: tf.cast(pixels, tf.float32),
        lambda: _resize_area(pixels, size),
    )
    return tf.ensure_shape(averaged, [None, None, 3])


def _resize_area(image, size):
    return tf.raw_ops.ResizeArea(images=image[tf.newaxis], size=size)[0]


def _warp_pinhole(window, homography, side):
    """Sample the window bilinearly along a homography from crop pixels to window pixels."""
    coefficients = tf.reshape(homography / homography[2, 2], [1, 9])[:, :8]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=window[tf.newaxis],
        transforms=coefficients,
        output_shape=[side, side],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]


def _warp_distorted(window, camera, to_ray, side):
    """Sample the window bilinearly where the lens puts the ray of each crop pixel."""
    # the lens is computed on a coarse grid and is smooth enough to be interpolated in between
    n_coarse = side // LENS_STEP + 2
    along = tf.linspace(0.0, tf.cast(side, tf.float32) - 1.0, n_coarse)
    grid = tf.stack([*tf.meshgrid(along, along), tf.ones([n_coarse, n_coarse])], axis=-1)
    pixel, is_seen = camera[tf.newaxis].project_and_see(geometry.transform(to_ray, grid))
    pixel = tf.concat([pixel, tf.cast(is_seen, tf.float32)[..., tf.newaxis]], axis=-1)
    pixel = tf.raw_ops.ResizeBilinear(images=pixel[tf.newaxis], size=[side, side], align_corners=True)[0]
    x, y, seen = tf.unstack(pixel, axis=-1)

    # a ring of black around the window takes everything that is outside; visible rays are a convex set, so that a
    # pixel is among them if the coarse grid's points around it are
    black_framed = tf.pad(window, [[1, 1], [1, 1], [0, 0]])
    height, width = tf.unstack(tf.shape(window)[:2], num=2)
    x = tf.clip_by_value(x + 1.0, 0.0, tf.cast(width, tf.float32) + 1.0)
    y = tf.where(seen > 0.999, tf.clip_by_value(y + 1.0, 0.0, tf.cast(height, tf.float32) + 1.0), 0.0)
    left, top = [tf.minimum(tf.floor(value), tf.cast(last, tf.float32)) for value, last in ((x, width), (y, height))]
    weight_x, weight_y = (x - left)[..., tf.newaxis], (y - top)[..., tf.newaxis]
    row_length = width + 2
    index = tf.cast(top, tf.int32) * row_length + tf.cast(left, tf.int32)
    flat = tf.reshape(black_framed, [-1, 3])
    corners = [tf.gather(flat, index + offset) for offset in (0, 1, row_length, row_length + 1)]
    upper = corners[0] + weight_x * (corners[1] - corners[0])
    lower = corners[2] + weight_x * (corners[3] - corners[2])
    return upper + weight_y * (lower - upper)
