"""The watchdog recovers lost messages, and cancelled orders release their holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from order_capture.entrypoints.invocations import InvocationFailedError
from tests.support.shop import CHECKERS, Shop, order_of

FIRST_LOOK = 60  # seconds, as in the template
DEADLINE = 900


def looked_at(shop: Shop, seconds: float = FIRST_LOOK) -> None:
    """Let time pass, with the watchdog's checks."""
    shop.pipeline.wait(seconds)
    shop.pipeline.run()


def lose(shop: Shop, *functions: str) -> None:
    """Lose all messages that wait for these functions."""
    for function in functions:
        assert shop.pipeline.held_up(function)


def order_that_dies_unpublished(shop: Shop, body: dict[str, Any]) -> str:
    """order_api writes the order, and its process dies before it publishes anything."""

    class ProcessDiesError(BaseException):
        """Never caught, like a kill."""

    def die(**_: object) -> None:
        raise ProcessDiesError

    with shop.pipeline.hooked("before-call.sns.PublishBatch", die), pytest.raises(ProcessDiesError):
        shop.post(body)
    (order_id,) = shop.pipeline.order_ids()
    return order_id


class TestWhatIsLost:
    def test_a_lost_publish_is_repeated_at_the_first_check(self, shop: Shop) -> None:
        order_id = order_that_dies_unpublished(shop, order_of("alice", 10, pen=1))
        shop.pipeline.run()
        assert shop.status(order_id) == "PENDING"

        looked_at(shop, FIRST_LOOK - 1)
        assert shop.status(order_id) == "PENDING"
        looked_at(shop, 1)

        assert shop.status(order_id) == "SHIPPED"
        assert shop.account("alice") == [90, 0, 10]
        assert shop.stock("pen") == [4, 0, 1]
        shop.books_add_up()

    @pytest.mark.parametrize("lost", [(CHECKERS[0],), (CHECKERS[1],), CHECKERS])
    def test_a_request_for_a_check_is_sent_again(self, shop: Shop, lost: tuple[str, ...]) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        lose(shop, *lost)
        shop.pipeline.run()
        assert shop.status(order_id) == "PENDING"

        looked_at(shop)

        assert shop.status(order_id) == "SHIPPED"
        shop.books_add_up()

    def test_the_last_check_sends_the_result_for_both(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        sent = []
        for checker in CHECKERS:
            shop.pipeline.deliver(checker)
            sent.append(shop.pipeline.deliver("order_update"))
        shop.pipeline.run()

        assert sent == [0, 1]
        assert shop.status(order_id) == "SHIPPED"
        assert shop.account("alice") == [90, 0, 10]

    def test_the_lost_result_of_the_checks_is_requested_again(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        for checker in CHECKERS:
            shop.pipeline.deliver(checker)
        lose(shop, "order_update")
        shop.pipeline.run()
        assert shop.account("alice") == [90, 10, 0]

        looked_at(shop)

        assert shop.status(order_id) == "SHIPPED"
        assert shop.account("alice") == [90, 0, 10]

    def test_a_confirmed_order_is_sent_to_shipping_again(self, shop: Shop) -> None:
        order_id = _confirmed(shop)
        lose(shop, "ship_order")
        shop.pipeline.run()
        assert shop.status(order_id) == "CONFIRMED"

        looked_at(shop)

        assert shop.status(order_id) == "SHIPPED"
        shop.books_add_up()

    @pytest.mark.parametrize(
        ("body", "first", "holding"),
        [
            pytest.param(order_of("bob", 50, pen=1), CHECKERS, "stock_checker", id="of the stock"),
            pytest.param(order_of("alice", 50, pen=9), CHECKERS, "balance_checker", id="of the credit"),
        ],
    )
    def test_a_release_is_sent_again(
        self, shop: Shop, body: dict[str, Any], first: tuple[str, ...], holding: str
    ) -> None:
        order_id = shop.order(body)
        for checker in first:
            shop.pipeline.deliver(checker)
        shop.pipeline.deliver("order_update")
        lose(shop, holding)
        shop.pipeline.run()
        assert shop.status(order_id) == "REJECTED"
        with pytest.raises(AssertionError, match="still holds"):
            shop.books_add_up()

        looked_at(shop)

        shop.books_add_up()

    def test_a_message_that_is_lost_repeatedly_is_sent_until_it_arrives(self, shop: Shop) -> None:
        order_id = _confirmed(shop)
        lose(shop, "ship_order")
        for seconds in (60, 120, 240, 480, 900, 900):
            shop.pipeline.wait(seconds)
            shop.pipeline.publish_changes()
            assert shop.pipeline.deliver("order_watchdog") == 1
            lose(shop, "ship_order")

        looked_at(shop, 900)

        assert shop.status(order_id) == "SHIPPED"
        shop.books_add_up()

    def test_an_ended_order_is_checked_once(self, shop: Shop) -> None:
        order_ids = [shop.order(order_of("alice", 10, pen=1)), shop.order(order_of("bob", 50, pen=1))]
        shop.pipeline.run()
        before = [shop.view(order_id) for order_id in order_ids]

        looked_at(shop)
        attempts = [name for name, _ in shop.pipeline.delivered].count("order_watchdog")
        looked_at(shop, 10 * DEADLINE)

        assert attempts == 2
        assert [name for name, _ in shop.pipeline.delivered].count("order_watchdog") == attempts
        assert [shop.view(order_id) for order_id in order_ids] == before
        shop.books_add_up()


class TestADeadline:
    def test_expires_an_undecided_order_and_releases_its_holds(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.deliver("balance_checker")
        lose(shop, "stock_checker")
        for seconds in (60, 120, 240):  # checks without effect
            shop.pipeline.run()
            shop.pipeline.wait(seconds)
            assert shop.pipeline.deliver("order_watchdog") == 1
            lose(shop, "stock_checker")
        shop.pipeline.run()
        assert shop.status(order_id) == "PENDING"
        assert shop.account("alice") == [90, 10, 0]

        looked_at(shop, 480)  # 900 in all

        view = shop.view(order_id)
        assert view["status"] == "EXPIRED"
        assert "expired: not decided in time" in "\n".join(view["logs"])
        shop.books_add_up()

    def test_does_not_end_an_order_that_is_confirmed(self, shop: Shop) -> None:
        order_id = _confirmed(shop)
        lose(shop, "ship_order")

        looked_at(shop, 2 * DEADLINE)
        looked_at(shop, 2 * DEADLINE)

        assert shop.status(order_id) == "SHIPPED"

    def test_a_later_check_holds_nothing(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        late = {checker: shop.pipeline.held_up(checker) for checker in CHECKERS}
        shop.pipeline.publish_changes()
        looked_at(shop, DEADLINE)
        assert shop.status(order_id) == "EXPIRED"

        for checker, bodies in late.items():
            for body in bodies:
                shop.pipeline.put(checker, body)
        shop.pipeline.run()

        assert shop.status(order_id) == "EXPIRED"
        assert {check["code"] for check in shop.view(order_id)["checks"].values()} == {"ORDER_CLOSED"}
        shop.books_add_up()


class TestTheWatch:
    @pytest.mark.parametrize("times", [1, 2])
    def test_is_set_again_if_it_can_not_be_set_now(self, shop: Shop, times: int) -> None:
        order_id = order_that_dies_unpublished(shop, order_of("alice", 10, pen=1))
        with shop.pipeline.refusing("sqs.SendMessageBatch"):
            for _ in range(times):
                with pytest.raises(InvocationFailedError, match="TransientError"):
                    shop.pipeline.publish_changes()

        shop.pipeline.run()
        looked_at(shop)

        assert shop.status(order_id) == "SHIPPED"

    def test_that_is_set_twice_does_nothing_twice(self, shop: Shop) -> None:
        order_id = order_that_dies_unpublished(shop, order_of("alice", 10, pen=1))

        shop.pipeline.publish_changes(times=2)
        looked_at(shop)

        assert shop.status(order_id) == "SHIPPED"
        assert shop.stock("pen") == [4, 0, 1]
        shop.books_add_up()

    @pytest.mark.parametrize(
        "operation", ["dynamodb.BatchGetItem", "sns.PublishBatch", "sqs.SendMessageBatch"]
    )
    def test_that_meets_a_fault_comes_again(self, shop: Shop, operation: str) -> None:
        order_id = order_that_dies_unpublished(shop, order_of("alice", 10, pen=1))
        shop.pipeline.publish_changes()
        shop.pipeline.wait(FIRST_LOOK)
        with shop.pipeline.refusing(operation):
            for _ in range(10):
                assert shop.pipeline.deliver("order_watchdog") == 1

        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"
        assert shop.pipeline.dead_letters("order_watchdog") == []

    def test_is_kept_for_new_orders_only(self, shop: Shop) -> None:
        shop.pipeline.publish_changes()  # of the balances
        shop.post({"orders": [order_of("alice", 10, pen=1), order_of("bob", 1, ink=1)]}, key="key-1")
        assert shop.pipeline.publish_changes() == 2  # and the record of the request is none of them

        shop.pipeline.run()

        assert shop.pipeline.publish_changes() == 0


class TestAnOrderThatIsCalledOff:
    def test_before_any_check_never_holds_anything(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        answer = shop.cancel(order_id)
        shop.pipeline.run()

        assert (answer.status, answer.body["status"]) == (200, "CANCELLED")
        assert answer.body["orderId"] == order_id
        assert shop.status(order_id) == "CANCELLED"
        shop.books_add_up()
        assert shop.account("alice") == [100, 0, 0]

    @pytest.mark.parametrize("checked", [(CHECKERS[0],), (CHECKERS[1],), CHECKERS])
    def test_while_it_is_checked_releases_its_holds(self, shop: Shop, checked: tuple[str, ...]) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        for checker in checked:
            shop.pipeline.deliver(checker)

        assert shop.cancel(order_id).status == 200
        shop.pipeline.run()

        assert shop.status(order_id) == "CANCELLED"
        shop.books_add_up()
        assert shop.account("alice") == [100, 0, 0]

    def test_while_it_is_confirmed_prevents_its_shipping(self, shop: Shop) -> None:
        order_id = _confirmed(shop)

        assert shop.cancel(order_id).status == 200
        shop.pipeline.run()

        assert shop.status(order_id) == "CANCELLED"
        assert shop.account("alice") == [100, 0, 0]
        assert shop.stock("pen") == [5, 0, 0]

    @pytest.mark.parametrize(
        ("over", "status"),
        [
            pytest.param(lambda shop: _ended(shop, order_of("alice", 10, pen=1)), "SHIPPED", id="shipped"),
            pytest.param(lambda shop: _ended(shop, order_of("bob", 50, pen=1)), "REJECTED", id="rejected"),
            pytest.param(
                lambda shop: _cancelled(shop, order_of("bob", 1, pen=1)), "CANCELLED", id="cancelled"
            ),
        ],
    )
    def test_too_late_is_a_409_and_changes_nothing(
        self, shop: Shop, over: Callable[[Shop], str], status: str
    ) -> None:
        order_id = over(shop)
        before = shop.view(order_id)

        answer = shop.cancel(order_id)
        shop.pipeline.run()

        assert answer.status == 409
        assert answer.body["type"] == "urn:order-capture:problem:status-conflict"
        assert status in answer.body["detail"]
        assert shop.view(order_id) == before
        shop.books_add_up()

    def test_but_was_never_placed_is_not_found(self, shop: Shop) -> None:
        assert shop.cancel("nothing").status == 404

    def test_releases_its_holds_at_the_first_check_if_the_release_could_not_be_sent(self, shop: Shop) -> None:
        order_id = _confirmed(shop)
        with shop.pipeline.refusing("sns.PublishBatch"):
            assert shop.cancel(order_id).status == 200
        shop.pipeline.run()
        assert shop.stock("pen") == [4, 1, 0]

        looked_at(shop)

        shop.books_add_up()

    def test_with_a_lost_response_takes_effect(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        with shop.pipeline.losing_an_answer("dynamodb.UpdateItem"):
            answer = shop.cancel(order_id)
        shop.pipeline.run()
        looked_at(shop)

        # botocore retried the write, which found the order cancelled by its own first attempt
        assert (answer.status, answer.body["status"]) == (200, "CANCELLED")
        assert shop.status(order_id) == "CANCELLED"
        shop.books_add_up()


def _confirmed(shop: Shop) -> str:
    """An order that is about to be shipped."""
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    for name in (*CHECKERS, "order_update"):
        shop.pipeline.deliver(name)
    assert shop.status(order_id) == "CONFIRMED"
    return order_id


def _ended(shop: Shop, body: dict[str, Any]) -> str:
    order_id = shop.order(body)
    shop.pipeline.run()
    return order_id


def _cancelled(shop: Shop, body: dict[str, Any]) -> str:
    order_id = shop.order(body)
    shop.cancel(order_id)
    shop.pipeline.run()
    return order_id
