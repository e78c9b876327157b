"""Small stand-ins for packages of the ROS distribution that PyPI lacks.

Same names and behaviour for what this project uses, and no more; :mod:`memorysam_ros.interop`
takes the genuine packages where they are installed. ``test/ros/test_interop.py`` is the contract
that both keep.
"""
