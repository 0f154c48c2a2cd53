"""The node's parameters: names, defaults, ranges, and when each may change."""

import re
from dataclasses import dataclass

import rclpy.parameter
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from metrabs_core.errors import UserError
from metrabs_core.pipeline import PipelineSettings
from metrabs_core.smoothing import SMOOTHINGS

# When a parameter may be set. The values follow the node's life cycle, from the most to the least permissive, which is
# when the node is made.
ALWAYS = ("unconfigured", "inactive", "active")
NOT_WHILE_ACTIVE = ("unconfigured", "inactive")
BEFORE_CONFIGURE = ("unconfigured",)
AT_START = ()

_TOPIC = re.compile(r"(~/|/)?(?!.*__)[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
# An empty list does not tell its type; those that may be empty here hold names.
_NAMES = rclpy.parameter.Parameter.Type.STRING_ARRAY

_WAY_TO = {
    NOT_WHILE_ACTIVE: "deactivate the node first",
    BEFORE_CONFIGURE: "deactivate and clean up the node first",
    AT_START: "start the node anew with it",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of the node.

    Attributes:
        name: its name.
        default: default value; its type is the parameter's.
        description: shown by `ros2 param describe`.
        settable: states of the life cycle in which it may be set.
        limits: smallest and largest number allowed.
        choices: the allowed strings.
        scale: of a setting of the pipeline, what makes its number out of the parameter's (metres to millimetres).
        is_topic: whether it is the name of a topic, or a list of names that topics begin with; empty for none.
    """

    name: str
    default: bool | int | float | str | list[int] | list[str]
    description: str
    settable: tuple[str, ...] = ALWAYS
    limits: tuple | None = None
    choices: tuple[str, ...] = ()
    scale: float | None = None
    is_topic: bool = False

    @property
    def descriptor(self) -> ParameterDescriptor:
        """The same as rcl_interfaces/ParameterDescriptor."""
        descriptor = ParameterDescriptor(description=self.description)
        if self.choices:
            descriptor.additional_constraints = f"One of: {', '.join(self.choices)}."
        if self._is_region:
            descriptor.additional_constraints = f"{len(self.default)} whole numbers, none below 0."
        elif self.limits and isinstance(self.default, float):
            low, high = self.limits
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        elif self.limits:
            low, high = self.limits
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor

    @property
    def _is_region(self) -> bool:
        return isinstance(self.default, list) and not self.is_topic

    def converted(self, value):
        """The value with the parameter's type, where what was given can't mean anything else.

        `60` means `60.0`. YAML and `ros2 param set` read `off` as false; true then is the first of the other choices.
        An empty list in YAML is none at all.
        """
        if self.default == [] and not value and not isinstance(value, str):
            return []
        if isinstance(value, bool) and self.choices[:1] == ("off",):
            return self.choices[value]
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return float(value) if isinstance(self.default, float) and is_integer else value

    def check(self, value, state: str) -> str:
        """Why `value` can't be set: a sentence, or '' if it can.

        Args:
            value: of the right type.
            state: of the node's life cycle; '' while the node is made.
        """
        if state and state not in self.settable:
            return f"The parameter {self.name} can't change while the node is {state}: {_WAY_TO[self.settable]}."
        if self.choices and value not in self.choices:
            return f"The parameter {self.name} is {value!r}, but must be one of: {', '.join(self.choices)}."
        if self.is_topic and not _are_topics(value):
            names = "different names that topics can begin with" if isinstance(value, list) else "the name of a topic"
            return f"The parameter {self.name} is {value!r}, but must be {names}: letters, digits and underscores."
        if self._is_region and (len(value) != len(self.default) or min(value) < 0):
            return (
                f"The parameter {self.name} is {list(value)}, but must be {len(self.default)} whole numbers, none "
                "below 0."
            )
        return ""

    def setting(self, value):
        """The value as a setting of the pipeline."""
        if self._is_region:
            return tuple(value)
        return self.scale * value if self.scale else value


def _are_topics(value: str | list[str]) -> bool:
    """Whether a value is the name of a topic, or consists of different names that topics can begin with."""
    if isinstance(value, list):
        return len(set(value)) == len(value) and all(_TOPIC.fullmatch(name) and name[0] not in "~/" for name in value)
    return not value or bool(_TOPIC.fullmatch(value))


def _setting(name: str, description: str, scale: float | None = None, **constraints) -> Parameter:
    """The parameter for a setting of the pipeline of the same name."""
    default = getattr(PipelineSettings(), name)
    default = list(default) if isinstance(default, tuple) else default
    return Parameter(name, default / scale if scale else default, description, scale=scale, **constraints)


_MM_PER_METRE = 1000.0


PIPELINE_PARAMETERS = (
    _setting(
        "skeleton",
        "Joint convention of the output, for example smpl_24 or coco_19. Empty: all joints.",
    ),
    _setting(
        "num_aug",
        "Crops per person, of whose poses one is made (test-time augmentation): 2 are the plain crop and its mirror "
        "image; 5 take almost 5 times as long as 1.",
        limits=(1, 100),
    ),
    _setting(
        "internal_batch_size",
        "Largest number of crops in one run of the network, on a GPU; without one, each crop has a run of its own.",
        limits=(1, 4096),
    ),
    _setting(
        "antialias_factor",
        "Supersampling of the crops of people who are large in the image.",
        limits=(1, 8),
    ),
    _setting(
        "detector_threshold",
        "Score from which a detected box counts as a person; somebody tracked is followed down to 0.7 of it.",
        limits=(0.0, 1.0),
    ),
    _setting(
        "detector_nms_iou_threshold",
        "Of two boxes that overlap by more than this (intersection over union), the weaker is dropped.",
        limits=(0.0, 1.0),
    ),
    _setting(
        "detector_flip_aug",
        "Run the detector on the mirrored image, too: finds more, takes longer.",
    ),
    _setting(
        "max_detections",
        "Largest number of people per image, best scores first. -1: all.",
        limits=(-1, 1000),
    ),
    _setting(
        "suppress_implausible_poses",
        "Drop poses with impossible bones, and duplicates.",
    ),
    _setting(
        "min_distance",
        "People whose middle is nearer to the camera are left out, metres.",
        scale=_MM_PER_METRE,
        limits=(0.0, 1000.0),
    ),
    _setting(
        "max_distance",
        "People whose middle is farther from the camera are left out, metres. 0: no limit.",
        scale=_MM_PER_METRE,
        limits=(0.0, 1000.0),
    ),
    _setting(
        "region_of_interest",
        "Part of the image: left, top, width, height, pixels. People are left out whose boxes have their middle "
        "outside. Where width or height is 0, it reaches to the image's edge.",
    ),
    _setting(
        "min_box_height",
        "People whose boxes are lower are left out, pixels.",
        limits=(0.0, 10000.0),
    ),
    _setting(
        "detector_interval",
        "From how many images the person detector looks at one; in the others, people are followed by their poses. It "
        "looks earlier where somebody is lost or the picture has changed. Saves time; who is new is seen that much "
        "later. 1: it looks at every image.",
        limits=(1, 100),
    ),
    _setting(
        "track_max_age",
        "Seconds for which a person who is not seen keeps the id.",
        limits=(0.0, 60.0),
    ),
    _setting(
        "smoothing",
        "How much poses are smoothed over time, with the One-Euro filter: still people tremble less, and moving ones "
        "come a little late.",
        choices=tuple(SMOOTHINGS),
    ),
)

PARAMETERS = (
    Parameter("autostart", True, "Configure and activate the node when it starts.", BEFORE_CONFIGURE),
    Parameter(
        "model", "", "Name of a packaged model, or directory of an exported one. Empty: accurate.", BEFORE_CONFIGURE
    ),
    Parameter(
        "detector_input_side",
        0,
        "Side of what the person detector sees, pixels, a multiple of 32: larger finds smaller people, smaller is "
        "faster. 0: the model's own. An exported model has only its own.",
        BEFORE_CONFIGURE,
        limits=(0, 2048),
    ),
    Parameter(
        "cameras",
        [],
        "Names of several cameras, which share the model: with front and rear, topics are front/image, rear/image and "
        "~/front/persons, ~/rear/persons, and so on. Empty: one camera without a name.",
        AT_START,
        is_topic=True,
    ),
    Parameter(
        "image_transport",
        "raw",
        "raw: subscribe to `image`; compressed: to `image/compressed` (JPEG or PNG).",
        NOT_WHILE_ACTIVE,
        choices=("raw", "compressed"),
    ),
    Parameter(
        "depth_topic",
        "",
        "Depth images (16UC1 in millimetres, or 32FC1 in metres) that belong to the images pixel by pixel, by whose "
        "depth people's distances are corrected. Empty: none.",
        NOT_WHILE_ACTIVE,
        is_topic=True,
    ),
    Parameter(
        "qos_reliability",
        "best_effort",
        "Reliability of the subscriptions to images, camera_info and depth. best_effort receives from every publisher; "
        "reliable asks for lost packets again and receives only from reliable publishers.",
        NOT_WHILE_ACTIVE,
        choices=("best_effort", "reliable"),
    ),
    Parameter(
        "sync_mode",
        "exact",
        "How image and camera_info find each other: exact (equal stamps), approximate (stamps within sync_slop) or "
        "latest (the newest camera_info of the image's frame_id, for cameras that publish it once or seldom).",
        NOT_WHILE_ACTIVE,
        choices=("exact", "approximate", "latest"),
    ),
    Parameter(
        "sync_slop",
        0.02,
        "Largest difference of the stamps of image and camera_info in approximate mode, and of image and depth image "
        "in approximate and latest mode, seconds.",
        NOT_WHILE_ACTIVE,
        limits=(0.0, 10.0),
    ),
    Parameter(
        "sync_queue_size",
        10,
        "Images, camera_infos and depth images that wait for their counterparts.",
        NOT_WHILE_ACTIVE,
        limits=(1, 1000),
    ),
    Parameter(
        "max_rate",
        0.0,
        "Images per second that are processed, at most; of those that come more often, some are left out evenly. "
        "0: no limit.",
        limits=(0.0, 1000.0),
    ),
    Parameter(
        "rectified",
        False,
        "The images are rectified (image_rect): use camera_info's P and no lens distortion instead of K and D.",
    ),
    Parameter(
        "default_fov_degrees",
        0.0,
        "Field of view over the longer image side to assume for a camera without calibration (no camera_info arrives, "
        "or its K is all zeros), degrees. Distances are then only as right as this number. 0: such images are not "
        "processed.",
        limits=(0.0, 170.0),
    ),
    *PIPELINE_PARAMETERS,
    Parameter(
        "target_frame",
        "",
        "TF frame that people are published in, for example base_link or map, with crops upright in it. Empty: the "
        "frame of the images.",
        NOT_WHILE_ACTIVE,
    ),
    Parameter(
        "tf_timeout",
        0.1,
        "How long an image waits at most until the place of its frame in target_frame is known, seconds; it is skipped "
        "then.",
        limits=(0.0, 10.0),
    ),
    Parameter(
        "publish_tf",
        "off",
        "Frames to publish on /tf. persons: person_<id>, at the pelvis, x forward and z up; joints: "
        "person_<id>/<joint>, too.",
        NOT_WHILE_ACTIVE,
        choices=("off", "persons", "joints"),
    ),
    Parameter("joint_orientations", False, "Whether the message has the orientations of the joints."),
    Parameter(
        "ros4hri",
        False,
        "Publish people as ROS4HRI (REP 155) has them, too: /humans/bodies and frames body_<id>. Needs hri_msgs.",
        NOT_WHILE_ACTIVE,
    ),
)
_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def declare(node):
    """Declare all parameters on a node, with the values that the user gave at the start.

    Raises:
        UserError: a value is not allowed.
        rclpy.exceptions.ParameterException: a value has the wrong type or is out of range.
    """
    for parameter in PARAMETERS:
        default = parameter.default
        # What the user gave, whatever its type is.
        given = node.declare_parameter(parameter.name, default, ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(parameter.name)
        converted = parameter.converted(given)
        is_converted = converted is not given
        value = converted if is_converted else default
        is_empty = value == []
        node.declare_parameter(parameter.name, _NAMES if is_empty else value, parameter.descriptor, is_converted)
        if is_empty and is_converted:
            node.set_parameters([_ros_parameter(parameter.name, value)])
        problem = parameter.check(node.get_parameter(parameter.name).value, "")
        if problem:
            raise UserError(problem)


def pipeline_settings(node) -> PipelineSettings:
    """The pipeline's settings as the parameters of a node are."""
    return PipelineSettings(**{p.name: p.setting(node.get_parameter(p.name).value) for p in PIPELINE_PARAMETERS})


def convert(parameter: rclpy.parameter.Parameter) -> rclpy.parameter.Parameter:
    """A parameter that somebody wants to set, with the type of the node's, if the value can be converted."""
    ours = _BY_NAME.get(parameter.name)
    value = ours.converted(parameter.value) if ours else parameter.value
    return parameter if value is parameter.value else _ros_parameter(parameter.name, value)


def _ros_parameter(name: str, value) -> rclpy.parameter.Parameter:
    return rclpy.parameter.Parameter(name, _NAMES if value == [] else None, value)


def check(name: str, value, state: str) -> str:
    """Why a parameter can't be set in a state of the life cycle: a sentence, or '' if it can.

    Types and ranges are rclpy's to check; parameters that are not the node's own pass.
    """
    return _BY_NAME[name].check(value, state) if name in _BY_NAME else ""
