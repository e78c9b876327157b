"""`memorysam demo`: the simulated drive, what became of it, and the story told of it."""
