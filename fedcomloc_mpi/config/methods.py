"""What the configuration needs to know about each algorithm and compressor, as data.

They themselves are registered under the same names in `fedcomloc_mpi.algorithms` and `fedcomloc_mpi.compressors`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One algorithm, as far as its flags are concerned.

    `uses_control_variates`: it needs a cohort of at least 2. `takes_compression`: --density, --bits and their
    relatives apply to it. `compresses_uplink`, `compresses_downlink`: --density and --bits act on what
    travels in that direction; otherwise that direction is lossless unless its own flags say more.
    """

    uses_control_variates: bool = False
    takes_compression: bool = False
    compresses_uplink: bool = False
    compresses_downlink: bool = False

    def compresses(self, direction: str) -> bool:
        """Whether --density and --bits act on `direction`, "uplink" or "downlink"."""
        return {"uplink": self.compresses_uplink, "downlink": self.compresses_downlink}[direction]


METHODS: dict[str, Method] = {
    "fedcomloc-com": Method(uses_control_variates=True, takes_compression=True, compresses_uplink=True),
    "fedcomloc-local": Method(uses_control_variates=True, takes_compression=True),
    "fedcomloc-global": Method(uses_control_variates=True, takes_compression=True, compresses_downlink=True),
    "scaffnew": Method(uses_control_variates=True),
    "fedavg": Method(),
    "sparsefedavg": Method(takes_compression=True, compresses_uplink=True),
    "scaffold": Method(uses_control_variates=True),
    "feddyn": Method(uses_control_variates=True),
}

COMPRESSORS: dict[str, None] = {"topk": None}
"""Names that --compressor takes; compressors/ registers what they stand for under the same names."""
