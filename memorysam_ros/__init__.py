"""MemorySAM for ROS 2: messages to frames and back, the node, and bags without ROS."""
