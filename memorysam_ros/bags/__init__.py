"""Recordings (rosbag2): read, write and replay them without ROS; play and record with rclpy."""

from memorysam_ros.bags.reader import Bag, BagError, RawMessage, Topic
from memorysam_ros.bags.writer import BagWriter

__all__ = ["Bag", "BagError", "BagWriter", "RawMessage", "Topic"]
