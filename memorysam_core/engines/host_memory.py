"""What becomes of freed memory of a process that runs a model on the processor.

glibc maps every block of more than 32 MB afresh, and gives back what lies free at the end of its
heap. So at each set the kernel would clear, page by page, the memory that the last set left: a
sixth of the time of a large one.
"""

from __future__ import annotations

import ctypes
import os

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 256 << 20
"""Bytes that may lie free at the end of the heap."""
_MAPPED = 1 << 30, 32 << 20
"""From how many bytes on a block is mapped by itself: as wished, and the most for older glibc."""


def keep_freed_memory() -> None:
    """Has this process use the memory of one set again for the next.

    Where the user has set glibc's allocator (``MALLOC_*``, ``GLIBC_TUNABLES``), it stays as it is,
    and so does a C library other than glibc.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    if "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_ARENA_MAX, 1)  # else threads have heaps of 64 MB, which are given back one by one
    mallopt(_TRIM_THRESHOLD, _KEPT)
    wished, accepted = _MAPPED
    if not mallopt(_MMAP_THRESHOLD, wished):
        mallopt(_MMAP_THRESHOLD, accepted)
