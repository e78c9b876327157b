#!/bin/bash
# Runs a command with ROS 2 and this workspace sourced.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"
