import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.transport.report import RankReport

FLOATS = st.floats(width=64)


@st.composite
def reports(draw: st.DrawFn) -> tuple[RankReport, int, int, int]:
    clients, parts, vectors = draw(st.integers(0, 5)), draw(st.integers(0, 7)), draw(st.integers(1, 3))
    lengths = st.lists(st.integers(0, 2**62), min_size=clients * vectors, max_size=clients * vectors)
    report = RankReport(
        signal=draw(st.integers(0, 64)),
        seconds=np.array(draw(st.lists(FLOATS, min_size=parts, max_size=parts)), dtype=np.float64),
        losses=np.array(draw(st.lists(FLOATS, min_size=clients, max_size=clients)), dtype=np.float64),
        lengths=np.array(draw(lengths), dtype=np.int64).reshape(clients, vectors),
        saved=draw(st.tuples(*[st.integers(0, 2**62)] * 3)),
    )
    return report, clients, parts, vectors


@given(reports())
def test_a_report_survives_packing(case: tuple[RankReport, int, int, int]) -> None:
    report, clients, parts, vectors = case
    packed = report.pack()
    assert packed.dtype == np.uint8
    assert (
        packed.size
        == RankReport.size(clients, parts, vectors)
        == 8 * (4 + parts + clients + clients * vectors)
    )
    read = RankReport.unpack(packed, clients, parts, vectors)
    assert (read.signal, read.saved) == (report.signal, report.saved)
    assert read.seconds.tobytes() == report.seconds.tobytes()
    assert read.losses.tobytes() == report.losses.tobytes()
    assert np.array_equal(read.lengths, report.lengths)
    packed[:] = 255  # what is read stays when the buffer is used again
    assert read.losses.tobytes() == report.losses.tobytes()


def test_a_negative_length_is_refused() -> None:
    report = RankReport(0, np.zeros(2), np.zeros(1), np.array([[5, -1]]))
    with pytest.raises(ValueError, match="negative"):
        RankReport.unpack(report.pack(), 1, 2, 2)
