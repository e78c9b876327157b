"""Engines: ways to run one and the same model. :func:`load_engine` chooses."""

from memorysam_core.engines.engine import Engine, Prepared
from memorysam_core.engines.load import EngineName, Loaded, load_engine

__all__ = ["Engine", "EngineName", "Loaded", "Prepared", "load_engine"]
