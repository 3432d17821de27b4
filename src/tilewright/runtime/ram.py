"""The memory of the machine, which its jobs share."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Files with the limit of a container: of the second version of cgroups, and of the first."""
KEPT = 0.1
"""Share that is left to the system and to other programs."""


def usable_megabytes(cgroups: Path = CGROUPS) -> int:
    """Megabytes that jobs may take together: of the machine, or of the container if it has less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in LIMITS:
        limit = cgroups / name
        text = limit.read_text().strip() if limit.is_file() else ""
        found += [int(text)] if text.isdigit() else []
    return int(min(found) * (1 - KEPT) / 1e6)
