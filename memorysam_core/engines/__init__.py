"""Engines: ways to run one and the same model. :func:`load_engine` chooses."""

from memorysam_core.engines.engine import Engine
from memorysam_core.engines.load import EngineName, Loaded, load_engine
from memorysam_core.engines.prepared import Prepared

__all__ = ["Engine", "EngineName", "Loaded", "Prepared", "load_engine"]
