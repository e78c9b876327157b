"""Benchmarks of the core. `memorysam bench` runs these and those of the other packages."""
