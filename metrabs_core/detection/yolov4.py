"""The layers of YOLOv4 (arXiv 2004.10934) and YOLOv4-tiny (arXiv 2011.08036) in the order of their weights files.

With these a user needs only the ``.weights`` file that the Darknet project publishes.
"""

from metrabs_core.detection.darknet import Section

# Sizes in pixels that the boxes of each cell start from.
_ANCHORS = (12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401)
_TINY_ANCHORS = (10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)
_N_CLASSES = 80  # of COCO; person is the first


def yolov4():
    """Sections of YOLOv4: CSPDarknet53, spatial pyramid pooling, path aggregation; pictures of 608 x 608."""
    net = _Network(608)
    net.convolve(32, 3, activation="mish")
    net.cross_stage(64, n_blocks=1, part_width=64, bottleneck=32)
    net.cross_stage(128, n_blocks=2, part_width=64, bottleneck=64)
    stride8 = net.cross_stage(256, n_blocks=8, part_width=128, bottleneck=128)
    stride16 = net.cross_stage(512, n_blocks=8, part_width=256, bottleneck=256)
    net.cross_stage(1024, n_blocks=4, part_width=512, bottleneck=512)

    before = net.convolve_repeatedly(512, 1024, 512)
    pooled = []
    for size in (5, 9, 13):
        if pooled:
            net.route(before)
        pooled.append(net.add("maxpool", stride=1, size=size))
    net.route(*reversed(pooled), before)
    coarse = net.convolve_repeatedly(512, 1024, 512)

    # down the pyramid, then up again
    middle = net.join_finer(stride16, 256)
    fine = net.join_finer(stride8, 128)
    net.convolve(256, 3)
    net.detect([0, 1, 2], _ANCHORS, 1.2)
    net.join_coarser(fine, middle, 256)
    middle = net.convolve_repeatedly(256, 512, 256, 512, 256)
    net.convolve(512, 3)
    net.detect([3, 4, 5], _ANCHORS, 1.1)
    net.join_coarser(middle, coarse, 512)
    net.convolve_repeatedly(512, 1024, 512, 1024, 512)
    net.convolve(1024, 3)
    net.detect([6, 7, 8], _ANCHORS, 1.05)
    return net.sections


def yolov4_tiny():
    """Sections of YOLOv4-tiny; pictures of 416 x 416."""
    net = _Network(416)
    net.convolve(32, 3, 2)
    net.convolve(64, 3, 2)
    for width in (64, 128, 256):
        whole = net.convolve(width, 3)
        net.route(whole, groups=2, group_id=1)
        first = net.convolve(width // 2, 3)
        net.route(net.convolve(width // 2, 3), first)
        stride16 = net.convolve(width, 1)
        net.route(whole, stride16)
        net.add("maxpool", size=2, stride=2)
    net.convolve(512, 3)
    coarse = net.convolve(256, 1)
    net.convolve(512, 3)
    net.detect([3, 4, 5], _TINY_ANCHORS, 1.05)
    net.route(coarse)
    net.convolve(128, 1)
    net.route(net.add("upsample", stride=2), stride16)
    net.convolve(256, 3)
    net.detect([1, 2, 3], _TINY_ANCHORS, 1.05)
    return net.sections


class _Network:
    """Sections in the making. Layers are named by their index, as Darknet does: the first after [net] is 0."""

    def __init__(self, side):
        self.sections = []
        self.add("net", width=side, height=side, channels=3)

    def add(self, kind, **options):
        """Append a layer. Returns its index."""
        self.sections.append(Section(kind, options))
        return len(self.sections) - 2

    def convolve(self, filters, size, stride=1, activation="leaky"):
        return self.add(
            "convolutional", batch_normalize=1, filters=filters, size=size, stride=stride, pad=1, activation=activation
        )

    def convolve_repeatedly(self, *filters):
        """Convolutions of size 1 and 3 in turn."""
        for i, n in enumerate(filters):
            last = self.convolve(n, 3 if i % 2 else 1)
        return last

    def route(self, *layers, **options):
        return self.add("route", layers=layers, **options)

    def cross_stage(self, width, n_blocks, part_width, bottleneck):
        """Half the resolution, then a cross-stage partial block: residual blocks on one of two branches."""
        start = self.convolve(width, 3, 2, "mish")
        bypass = self.convolve(part_width, 1, 1, "mish")
        self.route(start)
        self.convolve(part_width, 1, 1, "mish")
        for _ in range(n_blocks):
            self.convolve(bottleneck, 1, 1, "mish")
            self.convolve(part_width, 3, 1, "mish")
            self.add("shortcut", **{"from": -3})
        self.route(self.convolve(part_width, 1, 1, "mish"), bypass)
        return self.convolve(width, 1, 1, "mish")

    def join_finer(self, backbone, width):
        """Twice the resolution, joined with what the backbone has there."""
        self.convolve(width, 1)
        upsampled = self.add("upsample", stride=2)
        self.route(backbone)
        self.route(self.convolve(width, 1), upsampled)
        return self.convolve_repeatedly(width, 2 * width, width, 2 * width, width)

    def join_coarser(self, finer, coarser, width):
        """Half the resolution of the one, joined with the other."""
        self.route(finer)
        self.route(self.convolve(width, 3, 2), coarser)

    def detect(self, mask, anchors, scale_x_y):
        self.add("convolutional", filters=len(mask) * (5 + _N_CLASSES), size=1, stride=1, pad=1, activation="linear")
        self.add("yolo", mask=mask, anchors=anchors, classes=_N_CLASSES, scale_x_y=scale_x_y)
