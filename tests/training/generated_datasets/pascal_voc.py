"""A small PASCAL VOC: annotations, pictures, and palette pictures of object segments."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

_OBJECT = """<object><name>{name}</name><pose>Unspecified</pose><truncated>{truncated}</truncated>
<difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>
</bndbox></object>"""


def generate(root: Path, strip: bool = False) -> dict[str, np.ndarray]:
    """Write root/pascal_voc; two levels of folders are left out if `strip`.

    Returns:
        the objects that are to be cut out, by name of the cut-out: RGB of the object, which is of one colour.
    """
    folder = root / "pascal_voc" / ("" if strip else "VOCdevkit/VOC2012")
    for name in ("Annotations", "JPEGImages", "SegmentationObject"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # name, left, top, width, height, truncated, difficult
    things = [
        ("chair", 10, 10, 40, 30, 0, 0), ("person", 70, 10, 40, 60, 0, 0), ("dog", 10, 60, 12, 12, 0, 0),
        ("car", 120, 20, 30, 40, 1, 0), ("sofa", 120, 70, 36, 40, 0, 1), ("bottle", 30, 60, 30, 40, 0, 0),
    ]  # fmt: skip
    image, labels, text, expected = np.full([120, 160, 3], 128, np.uint8), np.zeros([120, 160], np.uint8), "", {}
    for number, (name, left, top, width, height, truncated, difficult) in enumerate(things):
        colour = np.array([40 * number, 250 - 40 * number, 60], np.uint8)
        image[top : top + height, left : left + width] = colour
        labels[top : top + height, left : left + width] = number + 1
        text += _OBJECT.format(
            name=name, truncated=truncated, difficult=difficult,
            xmin=left + 1, ymin=top + 1, xmax=left + width, ymax=top + height,
        )  # fmt: skip
        if name in ("chair", "bottle"):
            expected[f"2007_000033_{number}.png"] = colour
    cv2.imwrite(str(folder / "JPEGImages/2007_000033.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    palette = Image.fromarray(labels, "P")
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    palette.save(folder / "SegmentationObject/2007_000033.png")
    (folder / "Annotations/2007_000033.xml").write_text(
        f"<annotation><filename>2007_000033.jpg</filename><segmented>1</segmented>{text}</annotation>"
    )
    # a picture without segments is of no use
    cv2.imwrite(str(folder / "JPEGImages/2007_000027.jpg"), image)
    (folder / "Annotations/2007_000027.xml").write_text("<annotation><segmented>0</segmented></annotation>")
    return expected
