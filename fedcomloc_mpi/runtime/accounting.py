"""The bytes of a round by every definition, from what was really encoded and delivered."""

from fedcomloc_mpi.compressors import Compressor, kept_entries
from fedcomloc_mpi.metrics.bytes import bound_bytes, paper_bytes
from fedcomloc_mpi.metrics.records import DirectionBytes
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup


class Accounting:
    """Keeps what cross-device accounting must remember: the last cohort and the size of its model on its own."""

    def __init__(self, setup: Setup, round: int, model_bytes: int) -> None:
        """Start after `round`, 0 for a fresh run; `model_bytes` is the size of its model coded without a reference."""
        self._setup = setup
        self._last_cohort = frozenset(setup.cohort(round).tolist() if round else ())
        self.last_model_bytes = model_bytes

    def close_round(
        self,
        plan: RoundPlan,
        uplink_payload: int,
        downlink_payload: int,
        model_bytes: int,
        delivered: tuple[int, int],
    ) -> tuple[DirectionBytes, DirectionBytes]:
        """Return the counts of the uplink and the downlink.

        uplink_payload: bytes of the cohort's messages; downlink_payload: of the broadcast, once; model_bytes: of the
        broadcast coded without a reference; delivered: bytes that MPI delivered (uplink, downlink).
        """
        setup, algorithm, cohort = self._setup, self._setup.algorithm, plan.round.cohort
        members = frozenset(plan.cohort.tolist())
        device = downlink_payload * cohort + self.last_model_bytes * len(members - self._last_cohort)
        self._last_cohort, self.last_model_bytes = members, model_bytes
        up_paper, up_bound = self._vector_bytes(setup.uplink)
        down_paper, down_bound = self._vector_bytes(setup.downlink)
        up, down = algorithm.uplink_vectors * cohort, algorithm.downlink_vectors * cohort
        return (
            DirectionBytes(up_paper * up, up_bound * up, uplink_payload, delivered[0]),
            DirectionBytes(
                down_paper * down, down_bound * down, downlink_payload * cohort, delivered[1], device
            ),
        )

    def _vector_bytes(self, compressor: Compressor) -> tuple[float, float]:
        size, layers = self._setup.layout.size, len(self._setup.layout.sizes)
        kept = kept_entries(compressor.density, size)
        return paper_bytes(kept, compressor.bits), bound_bytes(size, kept, compressor.bits, layers)
