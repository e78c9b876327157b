"""One HTML file that tells what was run and how well it went, with pictures; needs matplotlib.

Whoever runs a checkpoint over many sets (replay, evaluation, the demo) tells a :class:`Collector`
of each and writes the report at the end:

>>> collector = Collector(contract.label_space, contract.names)
>>> collector.add(t_s, segmentation.modalities, frames, segmentation.labels, truth)
>>> report = collector.report("Replay of drive.mcap", Run.here(command, data="drive.mcap"))
>>> write_report(report, "report.html")
"""

from memorysam_core.report.collector import Collector
from memorysam_core.report.data import Entry, Group, Moment, ReportData, Run, Sample, Tile
from memorysam_core.report.page import render, write_report

__all__ = [
    "Collector",
    "Entry",
    "Group",
    "Moment",
    "ReportData",
    "Run",
    "Sample",
    "Tile",
    "render",
    "write_report",
]
