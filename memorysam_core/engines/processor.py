"""Which processor this is, and which instructions it has."""

from __future__ import annotations

import hashlib
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = re.compile(
    r"3dnow|abm|adx|aes|amx|apx|avx|bmi|cldemote|clflush|clwb|cx16|enqcmd|f16c|fma|fsgsbase|fxsr|"
    r"gfni|lahf|lzcnt|mmx|movbe|movdir|pclmul|pku|popcnt|prefetch|ptwrite|rdpid|rdrand|rdseed|"
    r"rdtscp|rtm|serialize|sha|sse|ssse|tbm|tsxldtrk|vaes|vpclmul|waitpkg|xop|xsave"
)
"""Beginnings of those flags of an x86 processor that compilers may make use of. Other flags tell of
its bugs and of the kernel, and change when that is updated."""


def name() -> str:
    """The processor's name, or else its architecture."""
    names = _values("model name")
    return names[0] if names else platform.machine()


def instructions_digest() -> str:
    """The same for processors with the same instructions, eight characters."""
    flags = {flag for line in _values("flags") for flag in line.split()}
    found = {flag for flag in flags if INSTRUCTIONS.match(flag)}
    found |= {feature for line in _values("Features") for feature in line.split()}  # ARM
    return hashlib.sha256(" ".join(sorted(found)).encode()).hexdigest()[:8]


def _values(key: str) -> list[str]:
    """What is said of every processor under a key."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for found, _, value in pairs if found.strip() == key]
