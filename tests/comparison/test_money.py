"""The costs of both designs: right-sized servers, price tiers, batches, and the break-even point."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.compare import money
from benchmarks.compare.monolith import Constants
from benchmarks.cost import Cost

MONTH = 730 * 3_600
CONSTANTS = Constants()


def costing(name: str, **dollars: float) -> Cost:
    counts: dict[str, Any] = {
        "requests": {"apigateway": 1.0},
        "write_units": {"order": 10.0},
        "table_write_units": {"OrderTable": 5.0, "StockTable": 6.0},
        "read_units": {"order": 1.0},
        "log_bytes": 100.0,
        "calls": 5.0,
    }
    return Cost(
        name,
        10,
        published=6.0,
        lambda_milliseconds=90.0,
        dollars_per_million={"api": 3.5, **dollars},
        **counts,
    )


FULL, SINGLE = costing("full", writes=16.5), costing("single", writes=30.0, sqs=6.5, sns=3.0)
SERVERLESS = money.Serverless(FULL, SINGLE, {10.0: 1.0, 1_000.0: 10.0})


class TestMonolith:
    def test_the_smallest_one_is_two_tasks_and_a_pair_of_the_smallest_databases_behind_a_balancer(
        self,
    ) -> None:
        fleet = money.fleet(0, CONSTANTS)

        assert (fleet.servers.tasks, fleet.servers.app_vcpus) == (2, 0.25)
        assert fleet.database == "db.t4g.micro"
        application = 0.5 * 0.03238 + 1 * 0.00356
        assert fleet.month == pytest.approx(
            730 * (application + 2 * 0.016 + 0.0225 + 2 * 0.005) + 2 * 20 * 0.115
        )

    def test_without_a_standby_it_is_one_of_each_and_no_balancer(self) -> None:
        fleet = money.fleet(0, CONSTANTS, standby=False)

        assert fleet.servers.tasks == 1
        assert fleet.month == pytest.approx(
            730 * (0.25 * 0.03238 + 0.5 * 0.00356 + 0.016 + 0.005) + 20 * 0.115
        )

    @pytest.mark.parametrize("rate", [10, 300, 1_000, 5_000, 20_000])
    def test_it_is_large_enough_that_no_limit_is_used_by_more_than_planned(self, rate: float) -> None:
        fleet = money.fleet(rate, CONSTANTS)

        assert fleet.fits
        assert all(share <= 0.6 + 1e-9 for share in fleet.shares.values())
        assert fleet.shares["application CPU"] == pytest.approx(
            rate * CONSTANTS.app_cpu_ms / 1000 / (fleet.servers.tasks * fleet.servers.app_vcpus)
        )

    def test_one_database_is_not_enough_for_any_rate(self) -> None:
        fleet = money.fleet(100_000, CONSTANTS)

        assert not fleet.fits
        assert fleet.database == "db.m7g.16xlarge"
        assert fleet.first_limit == "database log"

    def test_one_that_is_sized_for_a_peak_has_its_servers_and_pays_for_the_mean(self) -> None:
        mean, peak, sized = (
            money.fleet(10, CONSTANTS),
            money.fleet(1_000, CONSTANTS),
            money.fleet(10, CONSTANTS, peak=100),
        )

        assert sized.servers == peak.servers
        assert mean.month < sized.month < peak.month


class TestServerless:
    def test_orders_that_come_alone_and_in_full_batches_cost_what_was_counted(self) -> None:
        tiers = money.prices()["api"]["tiers"]
        assert tiers[0]["dollars"] == 3.5

        assert SERVERLESS.per_million(1) == pytest.approx(SINGLE.total_dollars)
        millions = 10_000 * MONTH / 1e6
        api = (333 * 3.5 + 667 * 2.8 + 19_000 * 2.38 + (millions - 20_000) * 1.51) / millions
        assert SERVERLESS.per_million(10_000) == pytest.approx(FULL.total_dollars - 3.5 + api)

    def test_half_full_batches_save_most_of_it(self) -> None:
        five = money.Serverless(FULL, SINGLE, {1.0: 5.0}).per_million(1)

        saved = (SINGLE.total_dollars - five) / (SINGLE.total_dollars - FULL.total_dollars)
        assert saved == pytest.approx((1 - 1 / 5) / (1 - 1 / 10))

    def test_batches_between_the_rates_that_were_played_are_between_them(self) -> None:
        assert SERVERLESS.batch(1) == 1
        assert SERVERLESS.batch(100) == pytest.approx(5.5)
        assert SERVERLESS.batch(50_000) == 10

    def test_what_an_order_takes_of_each_limit(self) -> None:
        assert SERVERLESS.per_order() == {"requests": 1, "executions": 0.09, "write_units": 6, "messages": 6}

    def test_an_idle_month_costs_alarms_dashboard_and_polls_and_nothing_else(self) -> None:
        polls = 10 * 5 * 3 * 60 * 730 * 0.40 / 1e6  # of five pollers for each queue
        assert money.idle_month() == pytest.approx(10.00 + 2 * 0.50 + 3.00 + polls, rel=0.05)
        assert SERVERLESS.month(1e-9) == pytest.approx(money.idle_month(), rel=0.01)

    def test_step_functions_cost_their_transitions_or_their_seconds_and_no_messages(self) -> None:
        found = money.step_functions(SINGLE)

        assert found["standard"] == pytest.approx(33.5 + 8 * 25)
        assert found["express"] == pytest.approx(33.5 + 1 + 0.5 * 0.0625 * 16.67)


class TestBreakEven:
    def test_it_is_where_both_cost_the_same(self) -> None:
        rate = money.break_even(lambda rate: 5 + 60 * rate, lambda rate: 65 + 0.1 * rate)

        assert rate == pytest.approx(60 / 59.9, rel=1e-6)

    def test_it_is_none_where_the_first_never_costs_more(self) -> None:
        assert money.break_even(lambda rate: rate, lambda rate: 2 * rate + 1) is None

    def test_of_both_designs_it_is_where_their_months_cost_the_same(self) -> None:
        rate = money.break_even(SERVERLESS.month, lambda rate: money.fleet(rate, CONSTANTS).month)

        assert rate is not None
        assert SERVERLESS.month(rate) == pytest.approx(money.fleet(rate, CONSTANTS).month, rel=0.01)
