"""The control topic's entrance: any bytes are a hint to refresh, or nothing."""

from __future__ import annotations

from hypothesis import strategies as st

from streaming.control import is_refresh
from tests.fuzz.amount import AMOUNTS, fuzz

TORN = st.builds(
    lambda at, inserted: b'{"command": "refresh"}'[:at] + inserted,
    st.integers(0, 22),
    st.binary(max_size=10),
)


@AMOUNTS
def test_any_bytes_are_a_hint_or_nothing(amount: int) -> None:
    def check(value: bytes) -> None:
        assert is_refresh(value) in (True, False)

    nested = st.builds(
        lambda opening, times: opening * times,
        st.sampled_from([b"[", b'{"a":']),
        st.integers(0, 9_999),
    )
    fuzz(
        amount,
        check,
        value=st.binary() | nested | TORN,
    )
