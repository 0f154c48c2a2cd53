"""Which camera_info or depth image belongs to which image."""

from collections.abc import Callable

try:
    from message_filters import ApproximateTimeSynchronizer, TimeSynchronizer
except ModuleNotFoundError:
    from metrabs_ros.message_filters_fallback import ApproximateTimeSynchronizer, TimeSynchronizer


def make_pairing(
    sync_mode: str, queue_size: int, slop: float, on_pair: Callable[[object, object], None]
) -> "LatestPairing | StampPairing":
    """Make a pairing, which calls back with an image and its partner (a camera_info, say) whenever it has both.

    Args:
        sync_mode: "exact" (equal stamps), "approximate" (stamps that differ by less than `slop`) or "latest" (the
            newest partner of the image's frame_id, whatever its stamp).
        queue_size: images and partners that wait for their counterparts; not for "latest".
        slop: seconds, for "approximate".
        on_pair: called with image and partner, which may be anything that has a header.
    """
    if sync_mode == "latest":
        return LatestPairing(on_pair)
    # By name, as the newest message_filters wants it and all others allow.
    options = {"queue_size": queue_size}
    if sync_mode == "exact":
        return StampPairing(lambda sources: TimeSynchronizer(fs=sources, **options), on_pair)
    options["slop"] = slop
    return StampPairing(lambda sources: ApproximateTimeSynchronizer(fs=sources, **options), on_pair)


class LatestPairing:
    """Each image goes with the newest partner of its frame_id."""

    def __init__(self, on_pair):
        self._on_pair, self._newest = on_pair, {}

    def add_partner(self, partner):
        """Take the next partner."""
        self._newest[partner.header.frame_id] = partner

    def add_image(self, image):
        """Take the next image."""
        if partner := self._newest.get(image.header.frame_id):
            self._on_pair(image, partner)


class StampPairing:
    """A synchronizer of message_filters, begun anew where stamps jump back (a bag that starts again).

    It would otherwise throw new messages away for as long as older ones of higher stamps wait for their counterparts.
    """

    def __init__(self, make_synchronizer, on_pair):
        self._make_synchronizer, self._on_pair = make_synchronizer, on_pair
        self._begin()

    def _begin(self):
        self._images, self._partners = _Source(), _Source()
        self._make_synchronizer([self._images, self._partners]).registerCallback(self._take)

    def _take(self, image, partner):
        self._images.forget(image)
        self._partners.forget(partner)
        self._on_pair(image, partner)

    def add_image(self, image):
        """Take the next image."""
        if self._images.is_jump(image):
            waiting = self._partners.waiting_until(image)
            self._begin()
            self._partners.pass_on_all(waiting)
        self._images.pass_on(image)

    def add_partner(self, partner):
        """Take the next partner."""
        if self._partners.is_jump(partner):
            waiting = self._images.waiting_until(partner)
            self._begin()
            self._images.pass_on_all(waiting)
        self._partners.pass_on(partner)


class _Source:
    """What a synchronizer of message_filters takes for a subscriber; begins with no message."""

    def __init__(self):
        self._callbacks, self._newest, self._waiting = [], (-1, 0), None

    def registerCallback(self, callback, *args):
        self._callbacks.append((callback, args))

    def is_jump(self, message) -> bool:
        # or back to the very stamp of the last one: then the other's messages are from before the jump
        return _stamp(message) <= self._newest

    def pass_on(self, message):
        self._newest, self._waiting = _stamp(message), message
        for callback, args in self._callbacks:
            callback(message, *args)

    def pass_on_all(self, messages):
        for message in messages:
            self.pass_on(message)

    def forget(self, message):
        """Of a message that has found its counterpart."""
        if message is self._waiting:
            self._waiting = None

    def waiting_until(self, jumped) -> list:
        """The newest message, if it has no counterpart yet and may be of after a jump to another's stamp, too."""
        is_of_after = self._waiting is not None and _stamp(self._waiting) <= _stamp(jumped)
        return [self._waiting] if is_of_after else []


def _stamp(message) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec
