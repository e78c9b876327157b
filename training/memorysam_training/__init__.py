"""Training, evaluation and simulation for MemorySAM; never needed on a robot."""
