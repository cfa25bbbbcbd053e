"""Concurrent deliveries: one sender runs inside of another's post."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from order_capture.application.batches import collecting_failures
from order_capture.application.messages import DeliverWebhook, ReceivedOrderEvent
from order_capture.application.webhooks.deliver_webhooks import (
    CLAIM_SECONDS,
    SLOT_DELAY,
    DeliverWebhooks,
)
from order_capture.application.webhooks.dispatch_webhooks import DispatchWebhooks
from order_capture.domain.times import after
from order_capture.domain.webhooks import (
    DEADLINE,
    SLOTS,
    Delivery,
    DeliveryResponse,
    DeliveryStatus,
    Lane,
    ReceiverHealth,
    WebhookStatus,
)
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, callbacks_of, delivery_of, details_of, webhook_of
from tests.support.fakes import MemoryPublisher
from tests.support.stores import memory_stores

HANGS, OK, GONE = (
    DeliveryResponse(None, "no response within 15 s", is_late=True),
    DeliveryResponse(204),
    DeliveryResponse(410),
)
QUICK, SLOW = Lane


class Senders:
    """Any number of senders, over one repository."""

    def __init__(self) -> None:
        self.webhooks, self.dead_letters = memory_stores(DynamoDB()).webhooks, MemoryPublisher()
        self.lanes = {lane: MemoryPublisher() for lane in Lane}
        self.now = NOW
        self.posted: list[str] = []
        self.answer, self.takes = OK, 0.1
        self.patience: list[float] = []
        self.meanwhile: list[Callable[[], object]] = []
        self.webhooks.add(callbacks_of())

    def delivery(self, number: int, url: str) -> Delivery:
        delivery = delivery_of(callbacks_of(), f"event-{number}", callback_url=url)
        self.webhooks.add_delivery(delivery)
        return delivery

    def send(
        self, delivery: Delivery, attempt_series: int | None = None, lane: Lane = QUICK, timeout: float = 15
    ) -> set[str]:
        use_case = DeliverWebhooks(
            lane=lane,
            webhooks=self.webhooks,
            post=self._post,
            lanes=self.lanes,
            dead_letters=self.dead_letters,
            clock=lambda: self.now,
            random=lambda: 0,
            timeout=timeout,
            max_delay=900,
        )
        failed: set[str] = set()
        with collecting_failures(failed, {delivery.order_id}):
            use_case.process(DeliverWebhook.of(delivery, attempt_series=attempt_series))
        return failed

    def stored(self, delivery: Delivery) -> Delivery:
        stored = self.webhooks.delivery(delivery.webhook_id, delivery.delivery_id)
        assert stored is not None
        return stored

    def host(self, name: str) -> ReceiverHealth:
        return self.webhooks.receiver(callbacks_of().webhook_id, name)

    def have_been_quick(self) -> None:
        """The customer's last responses in the quick lane were quick, and all of their slots are free."""
        assert self.webhooks.take("alice", QUICK, 0, self.now, self.now)
        self.webhooks.release("alice", QUICK, 0, self.now, "", answer_ms=100)

    def free(self, lane: Lane) -> int:
        return len(self.webhooks.share("alice").free(lane, self.now))

    def _post(self, url: str, headers: Mapping[str, str], body: str, timeout: float) -> DeliveryResponse:
        self.posted.append(url)
        self.patience.append(timeout)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.now = after(self.now, min(self.takes, timeout))
        return self.answer


@pytest.fixture
def senders() -> Senders:
    senders = Senders()
    senders.have_been_quick()
    return senders


def failing(senders: Senders, name: str) -> None:
    """The host has failed once, and its back-off is over."""
    well = senders.host(name)
    assert senders.webhooks.save_receiver(
        well.after_attempt(DeliveryResponse(500), 0.1, NOW), expected=well, now=NOW
    )
    senders.now = after(NOW, 10)


def test_a_host_that_fails_is_sent_one_at_a_time_and_the_others_are_not_kept_waiting(
    senders: Senders,
) -> None:
    failing(senders, "a.example")
    one, two = (senders.delivery(n, f"https://a.example/{n}") for n in range(2))
    other = senders.delivery(2, "https://b.example/")
    senders.meanwhile = [lambda: senders.send(two), lambda: None]
    senders.send(one)
    assert senders.posted == ["https://a.example/0"]

    failing(senders, "c.example")
    third = senders.delivery(3, "https://c.example/")
    senders.meanwhile = [lambda: senders.send(other)]
    senders.send(third)
    assert senders.posted[1:] == ["https://c.example/", "https://b.example/"]


@pytest.mark.parametrize("lane", Lane)
def test_a_customer_has_so_many_under_way_in_a_lane_wherever_they_go(senders: Senders, lane: Lane) -> None:
    slots = SLOTS[lane]
    deliveries = [senders.delivery(n, f"https://host{n}.example/") for n in range(slots + 1)]
    senders.meanwhile = [
        lambda each=each: senders.send(each, lane=lane)  # type: ignore[misc]
        for each in deliveries[1:]
    ]
    senders.send(deliveries[0], lane=lane)

    # each in the post of the previous one, so that all are in progress when the last one starts
    assert len(senders.posted) == slots
    assert senders.stored(deliveries[slots]).status is DeliveryStatus.PENDING
    # which is retried after a moment, in the same lane
    assert senders.lanes[lane].taken() == [DeliverWebhook.of(deliveries[slots], delay=SLOT_DELAY)]
    # and the slots are free again
    senders.now = after(NOW, 60)
    senders.send(deliveries[slots], lane=lane)
    assert len(senders.posted) == slots + 1


def test_in_the_quick_lane_a_slot_rests_in_proportion_to_its_use(senders: Senders) -> None:
    senders.takes = 0.2
    senders.send(senders.delivery(1, "https://a.example/"))

    assert senders.free(QUICK) == SLOTS[QUICK] - 1
    senders.now = after(senders.now, 2.3)
    assert senders.free(QUICK) == SLOTS[QUICK] - 1
    senders.now = after(senders.now, 0.2)
    assert senders.free(QUICK) == SLOTS[QUICK]

    senders.send(senders.delivery(2, "https://a.example/"), lane=SLOW)
    assert senders.free(SLOW) == SLOTS[SLOW]


def test_a_receiver_that_is_too_slow_for_the_quick_lane_is_sent_it_again_in_the_slow_one(
    senders: Senders,
) -> None:
    delivery, later = (senders.delivery(n, "https://a.example/") for n in range(2))
    senders.answer, senders.takes = DeliveryResponse(None, "no response within 2 s", is_late=True), 14
    senders.send(delivery)

    # it is not a failure: no back-off, no lost attempt
    assert senders.stored(delivery).status is DeliveryStatus.PENDING
    assert (senders.stored(delivery).attempt_count, senders.host("a.example").failures) == (0, 0)
    assert senders.lanes[SLOW].taken() == [DeliverWebhook.of(delivery)]
    # and it is waited for there
    senders.answer = OK
    senders.send(delivery, lane=SLOW)
    assert senders.patience == [2, 15]
    assert senders.stored(delivery).status is DeliveryStatus.DELIVERED
    # what else there is for it does not come by the quick lane any more
    senders.now = after(senders.now, 90)
    senders.send(later)
    assert len(senders.posted) == 2
    assert senders.lanes[SLOW].taken() == [DeliverWebhook.of(later)]
    assert senders.lanes[QUICK].taken() == []


def test_after_an_answer_that_was_too_slow_one_delivery_of_the_customer_is_under_way_in_the_quick_lane(
    senders: Senders,
) -> None:
    senders.answer, senders.takes = DeliveryResponse(None, "no response within 2 s", is_late=True), 14
    senders.send(senders.delivery(1, "https://a.example/"))
    assert senders.free(QUICK) == 0
    senders.now, senders.answer, senders.takes = after(senders.now, 63), OK, 0.1
    one, two = (senders.delivery(n, f"https://b{n}.example/") for n in (2, 3))
    senders.meanwhile = [lambda: senders.send(two)]
    senders.send(one)
    assert senders.posted[1:] == ["https://b2.example/"]
    assert senders.free(QUICK) > 0


def test_where_no_answer_may_take_longer_a_late_one_is_a_failure_in_the_quick_lane_too(
    senders: Senders,
) -> None:
    delivery = senders.delivery(1, "https://a.example/")
    senders.answer, senders.takes = HANGS, 14
    senders.send(delivery, timeout=1)

    assert senders.patience == [1]
    assert (senders.stored(delivery).attempt_count, senders.host("a.example").failures) == (1, 1)


def dispatched(senders: Senders, *callback_urls: str) -> dict[Lane, list[str]]:
    """The hosts to which each lane sends the events of orders with these addresses; "" for a webhook."""
    events = [
        ReceivedOrderEvent(
            f"event-{n}{url}", "order.placed", 1, NOW, NOW, details_of(f"order-{n}"), "{}", "corr-1", url
        )
        for n, url in enumerate(callback_urls)
    ]
    clock = lambda: senders.now  # noqa: E731
    use_case = DispatchWebhooks(senders.webhooks, senders.lanes, lambda: "whsec_b25l", clock)
    assert use_case.process(events) == set()
    return {
        lane: [
            senders.webhooks.delivery(each.webhook_id, each.delivery_id).host  # type: ignore[union-attr]
            for each in outbox.taken()
            if isinstance(each, DeliverWebhook)
        ]
        for lane, outbox in senders.lanes.items()
    }


def test_an_event_comes_by_the_quick_lane_unless_its_receiver_is_slow(senders: Senders) -> None:
    slow = senders.host("slow.example")
    assert senders.webhooks.save_receiver(slow.found_slow(NOW), expected=slow, now=NOW)
    senders.webhooks.add(webhook_of())
    known = webhook_of().receiver
    assert senders.webhooks.save_receiver(known.found_slow(NOW), expected=known, now=NOW)

    lanes = dispatched(senders, "https://quick.example/", "https://slow.example/", "")
    assert lanes == {QUICK: ["quick.example"], SLOW: ["", "slow.example", "", ""]}
    senders.now = after(NOW, 301)
    assert dispatched(senders, "https://slow.example/") == {QUICK: ["slow.example", ""], SLOW: []}


def test_what_is_more_than_a_customers_share_of_the_quick_lane_comes_by_the_slow_one(
    senders: Senders,
) -> None:
    for slot in range(SLOTS[QUICK]):
        assert dispatched(senders, f"https://host{slot}.example/")[SLOW] == []
        assert senders.webhooks.take("alice", QUICK, slot, NOW, after(NOW, 30))

    assert dispatched(senders, "", "https://another.example/") == {QUICK: [], SLOW: ["another.example"]}


def test_nothing_is_sent_before_its_time(senders: Senders) -> None:
    delivery = senders.delivery(1, "https://a.example/")
    later = replace(delivery, next_time=after(NOW, 0.5))
    assert senders.webhooks.save_delivery(later, expected=delivery)

    senders.send(later)
    assert senders.posted == []
    assert senders.lanes[QUICK].taken() == [DeliverWebhook.of(later, delay=1)]

    senders.now = later.next_time
    senders.send(later)
    assert senders.posted == ["https://a.example/"]


def test_a_delivery_that_is_restarted_is_sent_at_the_first_check(senders: Senders) -> None:
    delivery = senders.delivery(1, "https://a.example/")
    senders.send(delivery)

    assert senders.send(delivery, attempt_series=1) == set()

    assert senders.posted == ["https://a.example/"] * 2
    assert (senders.stored(delivery).status, senders.stored(delivery).attempt_series) == (
        DeliveryStatus.DELIVERED,
        1,
    )


def test_while_a_host_rests_nothing_is_sent_there_until_its_rest_is_over(senders: Senders) -> None:
    failing(senders, "a.example")
    senders.now = NOW
    delivery = senders.delivery(1, "https://a.example/")

    senders.send(delivery)

    assert senders.posted == []
    assert senders.lanes[QUICK].taken() == [DeliverWebhook.of(delivery, delay=5 + SLOT_DELAY)]


@pytest.mark.parametrize(("answer", "failures"), [(HANGS, 2), (OK, 0), (GONE, 0)])
def test_a_host_that_failed_is_as_its_last_answer_was(
    senders: Senders, answer: DeliveryResponse, failures: int
) -> None:
    failing(senders, "a.example")
    senders.answer = answer
    senders.send(senders.delivery(1, "https://a.example/"), lane=SLOW)

    assert senders.host("a.example").failures == failures
    assert (senders.host("a.example").backoff_until > senders.now) is (failures > 0)


def test_of_several_that_find_out_at_once_that_a_host_fails_the_first_says_so(senders: Senders) -> None:
    one, two = (senders.delivery(n, f"https://a.example/{n}") for n in range(2))
    senders.answer, senders.meanwhile = DeliveryResponse(500), [lambda: senders.send(two)]
    senders.send(one)

    assert len(senders.posted) == 2
    assert senders.host("a.example").failures == 1
    senders.now = after(senders.now, 60)
    assert senders.free(QUICK) == SLOTS[QUICK]


def test_a_sender_that_dies_leaves_the_host_and_its_delivery_to_the_next(senders: Senders) -> None:
    failing(senders, "a.example")
    delivery = senders.delivery(1, "https://a.example/")

    def die() -> None:
        raise SystemExit

    senders.meanwhile = [die]
    with pytest.raises(SystemExit):
        senders.send(delivery)
    senders.send(delivery)
    assert len(senders.posted) == 1
    senders.now = after(senders.now, CLAIM_SECONDS)
    senders.send(delivery)
    assert len(senders.posted) == 2
    assert senders.stored(delivery).status is DeliveryStatus.DELIVERED


def test_who_finds_the_delivery_taken_gives_back_what_they_hold(senders: Senders) -> None:
    failing(senders, "a.example")
    delivery = senders.delivery(1, "https://a.example/")
    save, was = senders.webhooks.save_delivery, senders.host("a.example")
    senders.webhooks.save_delivery = lambda delivery, expected: False  # type: ignore[method-assign]
    senders.send(delivery)
    senders.webhooks.save_delivery = save  # type: ignore[method-assign]

    assert senders.posted == []
    assert senders.host("a.example") == was
    senders.now = after(senders.now, 60)
    assert senders.free(QUICK) == SLOTS[QUICK]


def test_gone_ends_the_order_and_not_the_webhook(senders: Senders) -> None:
    one, two = (senders.delivery(n, "https://a.example/") for n in range(2))
    senders.answer = GONE
    senders.send(one)
    senders.send(two)

    assert senders.posted == ["https://a.example/"]
    assert [senders.stored(each).attempts[-1].result for each in (one, two)] == [
        "answered 410",
        "the address is gone",
    ]
    assert senders.webhooks.of_customer("alice")[0].status == "ACTIVE"


def test_what_is_turned_off_while_it_rests_ends_without_a_dead_letter(senders: Senders) -> None:
    # GIVEN a delivery that could no longer be made in time, of a webhook that is turned off
    receiver = ReceiverHealth("alice.1", failures=1, backoff_until=after(NOW, DEADLINE + 60))
    resting = webhook_of(status=WebhookStatus.DISABLED, known=receiver)
    delivery = delivery_of(resting)
    senders.webhooks.add(resting)
    senders.webhooks.add_delivery(delivery)
    # WHEN it is checked after its day
    senders.now = after(NOW, DEADLINE)
    senders.send(delivery)
    # THEN it has failed for that reason only: there is nothing to redrive
    assert senders.stored(delivery).status is DeliveryStatus.FAILED
    assert senders.stored(delivery).attempts[-1].result == "the webhook is disabled"
    assert (senders.posted, senders.lanes[QUICK].taken(), senders.dead_letters.taken()) == ([], [], [])
