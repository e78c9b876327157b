"""ROS messages to readings of :mod:`memorysam_core.frames.readings`, and arrays to messages.

The only place that reads or fills message fields. It takes rclpy's messages and rosbags' alike,
since it only looks at attributes. Stamps are int nanoseconds, distances metres.
"""

from memorysam_ros.conversions.camera_info import camera
from memorysam_ros.conversions.clouds import points_reading, returns
from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.events import EventStream
from memorysam_ros.conversions.headers import frame_id, stamp_ns, text
from memorysam_ros.conversions.images import (
    depth_m,
    depth_reading,
    image_reading,
    label_ids,
    rendered_reading,
    rgb,
)
from memorysam_ros.conversions.outputs import (
    MessageFactory,
    Outputs,
    bag_messages,
    blend,
    ros_messages,
)
from memorysam_ros.conversions.transforms import StampedTransform, stamped_transform, transforms

__all__ = [
    "ConversionError",
    "EventStream",
    "MessageFactory",
    "Outputs",
    "StampedTransform",
    "bag_messages",
    "blend",
    "camera",
    "depth_m",
    "depth_reading",
    "frame_id",
    "image_reading",
    "label_ids",
    "points_reading",
    "rendered_reading",
    "returns",
    "rgb",
    "ros_messages",
    "stamp_ns",
    "stamped_transform",
    "text",
    "transforms",
]
