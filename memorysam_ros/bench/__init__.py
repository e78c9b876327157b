"""Benchmarks of the ROS side: what the node costs beside the model."""
