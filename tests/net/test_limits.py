"""The token bucket."""

from __future__ import annotations

import pytest

from p2pchat.net.limits import TokenBucket


def test_bucket_asks_for_no_wait_within_its_burst() -> None:
    bucket = TokenBucket(per_s=10, burst=5, now_s=0.0)
    assert [bucket.take(1, 0.0) for _ in range(5)] == [0.0] * 5


def test_bucket_asks_for_the_time_of_its_debt_when_the_burst_is_spent() -> None:
    bucket = TokenBucket(per_s=10, burst=5, now_s=0.0)
    assert bucket.take(25, 0.0) == pytest.approx(2.0)
    assert bucket.take(0, 1.0) == pytest.approx(1.0)
    assert bucket.take(0, 2.0) == 0.0


def test_bucket_saves_no_more_than_its_burst_when_it_is_quiet() -> None:
    bucket = TokenBucket(per_s=10, burst=5, now_s=0.0)
    assert bucket.take(6, 1000.0) == pytest.approx(0.1)
