"""The topics on which the node publishes people, as they are called where nothing is renamed, and their types."""

PERSONS_TOPIC, SKELETON_TOPIC = "/metrabs_node/persons", "/metrabs_node/skeleton"
MARKERS_TOPIC = "/metrabs_node/markers"
RESULT_TYPES = {
    PERSONS_TOPIC: "metrabs_msgs/msg/PersonArray",
    SKELETON_TOPIC: "metrabs_msgs/msg/Skeleton",
    MARKERS_TOPIC: "visualization_msgs/msg/MarkerArray",
}
