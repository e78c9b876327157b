"""Sub-commands of ``memorysam`` that feed the model from messages."""
