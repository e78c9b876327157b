"""Ids of DELIVER's classes by name."""

from __future__ import annotations

from memorysam_core.labels import DELIVER

_ID = {name: index for index, name in enumerate(DELIVER.classes)}

BUILDING, FENCE, OTHER = (_ID[n] for n in ("Building", "Fence", "Other"))
PEDESTRIAN, POLE = (_ID[n] for n in ("Pedestrian", "Pole"))
ROAD_LINE, ROAD, SIDEWALK = (_ID[n] for n in ("RoadLine", "Road", "SideWalk"))
VEGETATION, CARS, WALL, SIGN = (_ID[n] for n in ("Vegetation", "Cars", "Wall", "TrafficSign"))
SKY, GROUND, BRIDGE, RAIL_TRACK = (_ID[n] for n in ("Sky", "Ground", "Bridge", "RailTrack"))
GUARD_RAIL, TRAFFIC_LIGHT, STATIC = (_ID[n] for n in ("GroundRail", "TrafficLight", "Static"))
DYNAMIC, WATER, TERRAIN = (_ID[n] for n in ("Dynamic", "Water", "Terrain"))
TWO_WHEELER, BUS, TRUCK = (_ID[n] for n in ("TwoWheeler", "Bus", "Truck"))
