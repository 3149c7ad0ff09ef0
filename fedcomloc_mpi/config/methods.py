"""What the configuration needs to know about each algorithm, as data.

The algorithms themselves are registered under the same names in `fedcomloc_mpi.algorithms`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One algorithm, as far as its flags are concerned.

    `uses_control_variates`: it needs a cohort of at least 2. `takes_compression`: --density, --bits and their
    relatives apply to it. `compresses_uplink`, `compresses_downlink`: --density and --bits act on what
    travels in that direction; otherwise that direction is lossless unless its own flags say more.
    """

    uses_control_variates: bool
    takes_compression: bool
    compresses_uplink: bool
    compresses_downlink: bool

    def compresses(self, direction: str) -> bool:
        """Whether --density and --bits act on `direction`, "uplink" or "downlink"."""
        return {"uplink": self.compresses_uplink, "downlink": self.compresses_downlink}[direction]


METHODS: dict[str, Method] = {
    "fedcomloc-com": Method(
        uses_control_variates=True, takes_compression=True, compresses_uplink=True, compresses_downlink=False
    ),
    "scaffnew": Method(
        uses_control_variates=True,
        takes_compression=False,
        compresses_uplink=False,
        compresses_downlink=False,
    ),
}
