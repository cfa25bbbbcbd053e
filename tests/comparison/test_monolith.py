"""The model of the monolith: no order is lost or invented, more cores never hurt, its bounds hold."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.compare.load import Load, Outage, arrivals
from benchmarks.compare.monolith import (
    KNOWN,
    Breaker,
    Constants,
    Cores,
    Log,
    Monolith,
    Pool,
    Servers,
    capacity,
    constants_from,
    play,
)
from benchmarks.traditional import credit
from order_capture_ops.errors import UsageError
from tests.support.virtual_time import Time

SMALL = Servers(app_vcpus=0.25, tasks=2, db_vcpus=2, max_connections=100)
LARGE = Servers(app_vcpus=4, tasks=2, db_vcpus=8)
EXACT = Constants(sigma=0)


def load(rate: float, seconds: float = 2, products: int = 1_000, outage: Outage | None = None) -> Load:
    return Load("test", arrivals(rate, seconds, seed=1), products, outage)


@pytest.mark.parametrize("rate", [10, 300, 2_000])
@pytest.mark.parametrize("patience", [0.0, 30.0])
@pytest.mark.parametrize("products", [1, 1_000])
def test_every_order_is_taken_refused_or_given_up(rate: float, patience: float, products: int) -> None:
    outcome = play(load(rate, products=products), SMALL, seed=1, patience=patience).outcome

    assert outcome.accepted + outcome.refused + outcome.timed_out == outcome.requested == rate * 2


def test_without_load_an_order_takes_what_its_steps_take() -> None:
    of = EXACT
    outcome = play(load(5), LARGE, of, seed=1).outcome

    expected = of.balancer_ms + of.app_cpu_ms + of.round_trip_ms + of.db_cpu_ms + of.serial_ms
    assert outcome.answer_p50 == pytest.approx((expected + of.standby_commit_ms) / 1000, abs=0.0002)


def test_the_same_seed_gives_the_same_outcome_and_another_one_another() -> None:
    first, again, other = (play(load(100), SMALL, seed=seed).outcome for seed in (1, 1, 2))

    assert first == again
    assert first.answer_p50 != other.answer_p50


@pytest.mark.parametrize("products", [1, 1_000])
def test_more_cores_are_never_slower(products: int) -> None:
    done = [
        capacity(Servers(cores, 1, cores, shared=True), clients=128, products=products, seconds=0.5, seed=1)
        for cores in (2, 4, 8, 16)
    ]

    for fewer, more in itertools.pairwise(done):
        assert more >= fewer * 0.97  # with one product it is the same except for randomness


def test_one_machine_does_what_its_cores_do() -> None:
    done = capacity(Servers(4, 1, 4, shared=True), clients=256, products=1_000, seconds=2, seed=1)

    cpu = Constants().app_cpu_ms + Constants().db_cpu_ms
    assert done == pytest.approx(4_000 / cpu, rel=0.05)


def test_one_product_sells_as_fast_as_its_row_is_free_again_whatever_the_cores() -> None:
    bound = 1 / Monolith(LARGE, EXACT, 1).row_seconds

    done = capacity(LARGE, EXACT, clients=64, products=1, seconds=2, seed=1)

    assert bound * 0.9 < done <= bound * 1.001


def test_what_one_core_has_to_do_bounds_the_database() -> None:
    done = capacity(
        Servers(4, 64, 64), Constants(serial_ms=0.1), clients=4_000, products=5_000, seconds=0.3, seed=1
    )

    assert done == pytest.approx(10_000, rel=0.05)


def test_commits_that_wait_are_flushed_together() -> None:
    log = Log(lambda: 0.01)

    ends = [log.ends(now) for now in (0.0, 0.001, 0.009, 0.0101, 0.05)]

    assert ends == pytest.approx([0.01, 0.02, 0.02, 0.03, 0.06])
    assert log.flushes == 4


def test_cores_work_in_the_order_in_which_work_comes() -> None:
    cores = Cores(2, speed=0.5)

    assert [cores.ends(0, 1), cores.ends(0, 2), cores.ends(1, 1), cores.ends(10, 1)] == [2, 4, 4, 12]
    assert cores.busy_seconds == 10


def test_a_pool_lets_in_so_many_and_refuses_who_has_waited_too_long() -> None:
    time, log = Time(), list[str]()
    pool = Pool(time, 1, patience=5)

    def come(name: str) -> None:
        pool.acquire(
            lambda: log.append(f"{name} in at {time.now:g}"),
            lambda: log.append(f"{name} out at {time.now:g}"),
        )

    for at, name in ((0, "first"), (1, "second"), (3, "third")):
        time.call(lambda name=name: come(name), at)  # type: ignore[misc]
    time.call(pool.release, 7)
    time.run(20)

    assert log == ["first in at 0", "second out at 6", "third in at 7"]


def test_an_overload_is_refused_and_what_is_taken_is_still_answered_in_time() -> None:
    outcome = play(load(2_000, seconds=4), SMALL, seed=1).outcome

    assert outcome.refused > outcome.requested / 4
    assert outcome.answer_p99 is not None
    assert outcome.answer_p99 < Constants().client_s


def test_clients_that_have_waited_too_long_are_gone_and_their_orders_may_be_placed() -> None:
    outcome = play(load(1_000), SMALL, Constants(client_s=0.5, in_flight=1e6), seed=1).outcome

    assert outcome.timed_out > outcome.requested / 4
    assert outcome.refused == 0


class TestCredit:
    def test_while_it_is_slow_clients_wait_for_it(self) -> None:
        slow = Outage(begins=0, ends=100, seconds=2, answers=True)

        outcome = play(load(20, outage=slow), SMALL, seed=1).outcome

        assert outcome.accepted == outcome.requested
        assert outcome.answer_p50 == pytest.approx(2, abs=0.05)

    def test_while_it_is_away_orders_are_refused_and_after_it_they_are_taken(self) -> None:
        away = Outage(begins=0, ends=20, seconds=2, answers=False)

        outcome = play(load(10, seconds=40, outage=away), SMALL, seed=1).outcome

        assert 0.3 < outcome.taken < 0.6
        assert outcome.accepted + outcome.refused == outcome.requested

    def test_clients_that_retry_are_served_in_the_end(self) -> None:
        away = Outage(begins=0, ends=20, seconds=2, answers=False)

        outcome = play(load(10, seconds=40, outage=away), SMALL, seed=1, patience=200).outcome

        assert outcome.taken == 1
        assert outcome.retries > 0

    def test_the_breaker_opens_and_lets_one_through_after_a_while(self) -> None:
        breaker = Breaker()
        for _ in range(credit.MAX_FAILURES):
            assert breaker.lets_through(1)
            breaker.failed(1)

        later = 1 + credit.OPEN_SECONDS
        assert not breaker.lets_through(2)
        assert breaker.lets_through(later)
        assert not breaker.lets_through(later)
        breaker.succeeded()
        assert breaker.lets_through(later)


def test_every_constant_says_what_it_is_and_where_from_and_can_be_set() -> None:
    for name, each in KNOWN.items():
        assert each.metadata["about"], name
        assert each.metadata["source"], name
        assert each.metadata["least"] <= each.default <= each.metadata["most"], name
        assert getattr(constants_from(f"{name}={each.metadata['most']}"), name) == each.metadata["most"]


@pytest.mark.parametrize("settings", ["speed=1", "sigma=3", "sigma=x", "sigma"])
def test_a_constant_that_is_none_is_refused_by_its_name(settings: str) -> None:
    with pytest.raises(UsageError, match=rf"SET: .*{settings.partition('=')[0]}"):
        constants_from(settings)
