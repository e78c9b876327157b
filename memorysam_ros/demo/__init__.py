"""The node in a process of its own, a drive played to it, and what it says recorded.

The part of `memorysam demo` that needs ROS; the rest is in :mod:`memorysam_training.demo`.
"""
