"""MemorySAM for ROS 2: messages to frames and back, the node, and bags without ROS."""

import os

# A robot's processors are never ours alone. OpenMP's threads, by default, wait for each other by
# spinning: beside other work, drawing a set of 1024 x 1024 then took 20 times the processor time.
# Read when torch is first imported; a choice of the user's stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
