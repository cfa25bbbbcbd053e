"""What every webhook repository does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.application.ports import VersionConflictError
from order_capture.application.webhooks.ports import WebhookRepository
from order_capture.domain.errors import RequestInProgressError, WebhookLimitError
from order_capture.domain.events import OrderEventType
from order_capture.domain.times import after
from order_capture.domain.webhooks import (
    SLOTS,
    DeliveryResponse,
    DeliveryStatus,
    Lane,
    ReceiverHealth,
    Webhook,
    WebhookStatus,
)
from tests.support.factories import NOW, WEBHOOK_SECRET, callbacks_of, delivery_of, webhook_of
from tests.support.stores import Stores

LATER, LAST = after(NOW, 30), after(NOW, 60)


def stored(stores: Stores) -> Webhook:
    webhook = stores.webhooks.get("alice.1")
    assert webhook is not None
    return webhook


def test_a_webhook_is_written_once(stores: Stores) -> None:
    webhook = webhook_of(event_types=(OrderEventType.SHIPPED,))
    assert stores.webhooks.add(webhook) is None
    assert stores.webhooks.add(replace(webhook, url="https://other.example/")) == stored(stores)
    assert stored(stores).url == webhook.url
    assert stored(stores).event_types == webhook.event_types


def test_what_is_not_there_is_none(stores: Stores) -> None:
    assert stores.webhooks.get("alice.1") is None
    assert stores.webhooks.delivery("alice.1", "delivery-1") is None
    assert list(stores.webhooks.of_customer("alice")) == []


def test_customers_without_webhooks_are_known_by_one_read(stores: Stores) -> None:
    names = [f"customer-{number}" for number in range(200)]
    assert not stores.webhooks.may_have_webhooks(names)

    stores.webhooks.register(webhook_of(webhook_id="customer-7.1", customer_id="customer-7"), 10)
    stores.webhooks.add(callbacks_of("customer-8"))
    found = stores.webhooks.may_have_webhooks(names)

    assert {"customer-7", "customer-8"} <= set(found)
    assert len(found) < 5, "others only by chance: each shares its slot with one in a thousand"


def test_a_customers_webhooks_are_theirs_alone(stores: Stores) -> None:
    for webhook_id, customer in (("alice.1", "alice"), ("alice.2", "alice"), ("bob.1", "bob")):
        stores.webhooks.add(webhook_of(webhook_id=webhook_id, customer_id=customer))
    stores.webhooks.add_delivery(delivery_of())
    assert {each.webhook_id for each in stores.webhooks.of_customer("alice")} == {"alice.1", "alice.2"}


def test_a_removed_webhook_is_gone_and_stays_so_whatever_is_under_way(stores: Stores) -> None:
    stores.webhooks.add(webhook_of())
    assert stores.webhooks.remove(webhook_of())
    assert not stores.webhooks.remove(webhook_of())
    stores.webhooks.disable("alice.1", NOW)
    failing = webhook_of().receiver.after_attempt(DeliveryResponse(500), 0.1, NOW)
    assert not stores.webhooks.save_receiver(failing, expected=webhook_of().receiver, now=NOW)
    with pytest.raises(VersionConflictError):
        stores.webhooks.rotate(webhook_of().rotate("whsec_bmV3", NOW), expected=webhook_of().secret)
    assert stores.webhooks.get("alice.1") is None


def registered(number: int, customer: str = "alice") -> Webhook:
    return webhook_of(webhook_id=f"{customer}.{number}", customer_id=customer)


def test_a_customer_registers_so_many_and_no_more_until_one_is_removed(stores: Stores) -> None:
    stores.webhooks.add(callbacks_of())  # which do not count
    for number in range(3):
        stores.webhooks.register(registered(number), at_most=3)
    with pytest.raises(WebhookLimitError):
        stores.webhooks.register(registered(3), at_most=3)
    stores.webhooks.register(registered(3, "bob"), at_most=3)
    # repeated removals, including the callbacks, free one place only
    for _ in range(2):
        stores.webhooks.remove(registered(1))
        stores.webhooks.remove(callbacks_of())
    stores.webhooks.register(registered(4), at_most=3)
    with pytest.raises(WebhookLimitError):
        stores.webhooks.register(registered(5), at_most=3)
    assert {each.webhook_id for each in stores.webhooks.of_customer("alice")} == {
        "alice.0",
        "alice.2",
        "alice.4",
    }


def answered(stores: Stores) -> FirstAnswer[Webhook] | None:
    """The key's first response, without the state of the webhook's receiver."""
    first = stores.webhooks.answered_webhook("request-1")
    return first and replace(first, value=replace(first.value, known=None))


OTHER = webhook_of(webhook_id="alice.2")
WRITES: dict[str, Callable[[WebhookRepository, Webhook, RequestKey], object]] = {
    "add": lambda webhooks, _, key: webhooks.add(OTHER, key),
    "register": lambda webhooks, _, key: webhooks.register(OTHER, 10, key),
    "remove": lambda webhooks, webhook, key: webhooks.remove(webhook, key),
    "rotate": lambda webhooks, webhook, key: webhooks.rotate(
        replace(webhook, secret="whsec_bmV3"), expected=webhook.secret, key=key
    ),
    "answer_with": lambda webhooks, _, key: webhooks.answer_with(delivery_of(), key),
}


class TestTheRecordOfAKey:
    KEY = RequestKey("request-1", "print-1")

    def test_is_written_with_what_it_is_the_answer_to(self, stores: Stores) -> None:
        assert answered(stores) is None
        stores.webhooks.register(webhook_of(), 10, self.KEY)
        assert answered(stores) == FirstAnswer("print-1", webhook_of())

    def test_stays_as_it_was_whatever_becomes_of_the_webhook(self, stores: Stores) -> None:
        stores.webhooks.register(webhook_of(), 10, self.KEY)
        stores.webhooks.rotate(webhook_of().rotate("whsec_bmV3", NOW), expected=webhook_of().secret)
        stores.webhooks.remove(webhook_of())
        assert answered(stores) == FirstAnswer("print-1", webhook_of())

    @pytest.mark.parametrize("write", sorted(WRITES))
    def test_keeps_everything_from_being_written_again(self, stores: Stores, write: str) -> None:
        # GIVEN a key that has its answer
        stores.webhooks.register(webhook_of(), 10, RequestKey("request-0", ""))
        stores.webhooks.rotate(webhook_of(secret="whsec_b25l"), expected=WEBHOOK_SECRET, key=self.KEY)
        first, before = answered(stores), stored(stores)
        # WHEN it is used for another request
        with pytest.raises(RequestInProgressError):
            WRITES[write](stores.webhooks, before, self.KEY)
        # THEN nothing has changed
        assert answered(stores) == first
        assert list(stores.webhooks.of_customer("alice")) == [before]

    def test_is_not_written_where_its_effect_is_refused(self, stores: Stores) -> None:
        stores.webhooks.register(webhook_of(), 1)
        with pytest.raises(WebhookLimitError):
            stores.webhooks.register(registered(2), 1, self.KEY)
        with pytest.raises(VersionConflictError):
            stores.webhooks.rotate(webhook_of(), expected="whsec_bmV3", key=self.KEY)
        assert not stores.webhooks.remove(registered(2), self.KEY)
        assert stores.webhooks.add(webhook_of(), self.KEY) == stored(stores)
        assert answered(stores) is None

    def test_of_a_removal_outlives_the_webhook(self, stores: Stores) -> None:
        stores.webhooks.register(webhook_of(), 10)
        stores.webhooks.remove(webhook_of(secret=""), self.KEY)
        assert answered(stores) == FirstAnswer("print-1", webhook_of(secret=""))

    def test_of_a_delivery_has_all_but_its_body(self, stores: Stores) -> None:
        delivery = replace(delivery_of().retry("answered 500", LATER, 0), attempt_series=3, body="{}")
        stores.webhooks.answer_with(delivery, self.KEY)
        assert stores.webhooks.answered_delivery("request-1") == FirstAnswer(
            "print-1", replace(delivery, body="")
        )

    def test_is_no_webhook_and_no_delivery_of_anybody(self, stores: Stores) -> None:
        stores.webhooks.answer_with(delivery_of(), self.KEY)
        assert list(stores.webhooks.of_customer("alice")) == []
        assert list(stores.webhooks.deliveries("alice.1", None, 10)) == []


def test_of_two_who_rotate_at_once_one_does(stores: Stores) -> None:
    stores.webhooks.add(webhook_of())
    stores.webhooks.rotate(webhook_of().rotate("whsec_b25l", NOW), expected=webhook_of().secret)
    with pytest.raises(VersionConflictError):
        stores.webhooks.rotate(webhook_of().rotate("whsec_dHdv", NOW), expected=webhook_of().secret)
    assert stored(stores).secrets(NOW) == ["whsec_b25l", webhook_of().secret]


def test_a_webhook_that_is_turned_off_stays_off(stores: Stores) -> None:
    stores.webhooks.add(webhook_of())
    stores.webhooks.disable("alice.1", LATER)
    assert (stored(stores).status, stored(stores).update_time) == (WebhookStatus.DISABLED, LATER)


@pytest.mark.parametrize("lane", Lane)
def test_a_slot_is_taken_by_one_until_it_is_released_or_its_time_is_over(stores: Stores, lane: Lane) -> None:
    webhooks = stores.webhooks
    assert webhooks.share("alice").slots[lane] == ("",) * SLOTS[lane]
    assert webhooks.take("alice", lane, 1, NOW, LATER)
    assert not webhooks.take("alice", lane, 1, NOW, LATER)
    assert webhooks.take("alice", lane, 2, NOW, LATER)
    webhooks.release("alice", lane, 2, LATER, NOW, answer_ms=100)
    assert webhooks.take("alice", lane, 2, NOW, LATER)
    assert webhooks.take("alice", lane, 1, LATER, LAST)
    # a release after its expiry frees nothing
    webhooks.release("alice", lane, 1, LATER, NOW, answer_ms=999)
    share = webhooks.share("alice")
    assert (share.slots[lane][1], share.answer_ms) == (LAST, 100)
    # and a slot is of one lane, and of one customer
    assert not {LATER, LAST} & {
        until for other, slots in share.slots.items() if other != lane for until in slots
    }
    assert webhooks.share("bob").slots[lane] == ("",) * SLOTS[lane]


def test_a_released_slot_may_rest_and_has_what_an_answer_takes(stores: Stores) -> None:
    assert stores.webhooks.take("alice", Lane.QUICK, 0, NOW, LATER)
    stores.webhooks.release("alice", Lane.QUICK, 0, LATER, LAST, answer_ms=100)
    assert not stores.webhooks.take("alice", Lane.QUICK, 0, LATER, LAST)
    assert stores.webhooks.share("alice").answer_ms == 100
    assert stores.webhooks.take("alice", Lane.QUICK, 0, LAST, after(LAST, 30))
    stores.webhooks.release("alice", Lane.QUICK, 0, after(LAST, 30), LAST)
    assert stores.webhooks.share("alice").answer_ms == 100
    assert list(stores.webhooks.of_customer("alice")) == []


def test_a_customers_callbacks_are_a_webhook_like_any_other(stores: Stores) -> None:
    assert stores.webhooks.add(callbacks_of()) is None
    existing = stores.webhooks.add(replace(callbacks_of(), secret="whsec_bmV3"))
    assert existing is not None
    assert (existing.webhook_id, existing.secret) == (f"alice.{'0' * 32}", callbacks_of().secret)
    assert list(stores.webhooks.of_customer("alice")) == [existing]
    delivery = delivery_of(callbacks_of(), callback_url="https://a.example/x")
    stores.webhooks.add_delivery(delivery)
    assert stores.webhooks.delivery(delivery.webhook_id, delivery.delivery_id) == delivery
    assert delivery.callback_url == "https://a.example/x"


def test_a_host_that_nobody_knows_is_well(stores: Stores) -> None:
    assert stores.webhooks.receiver("alice.1", "a.example") == ReceiverHealth("alice.1", "a.example")


@pytest.mark.parametrize("name", ["", "a.example"])
def test_of_two_who_say_how_a_receiver_fares_the_first_is_believed(stores: Stores, name: str) -> None:
    def known() -> ReceiverHealth:
        return stores.webhooks.receiver("alice.1", name) if name else stored(stores).receiver

    stores.webhooks.add(webhook_of())
    well = ReceiverHealth("alice.1", name)
    failing, other = (well.after_attempt(DeliveryResponse(500), 3, now) for now in (NOW, LATER))
    assert stores.webhooks.save_receiver(failing, expected=well, now=NOW)
    assert not stores.webhooks.save_receiver(other, expected=well, now=NOW)
    assert known() == failing
    # and of two claims one succeeds, until the host is healthy again
    assert stores.webhooks.save_receiver(failing.claim(LAST), expected=failing, now=NOW)
    assert not stores.webhooks.save_receiver(failing.claim(LATER), expected=failing, now=NOW)
    assert stores.webhooks.save_receiver(well, expected=failing.claim(LAST), now=NOW)
    assert stores.webhooks.save_receiver(other, expected=well, now=NOW)
    assert known() == other


def test_a_host_is_one_customers_own(stores: Stores) -> None:
    well = ReceiverHealth("alice.1", "a.example")
    stores.webhooks.save_receiver(well.after_attempt(DeliveryResponse(500), 0.1, NOW), expected=well, now=NOW)
    assert stores.webhooks.receiver("bob.1", "a.example").failures == 0
    assert stores.webhooks.receiver("alice.1", "b.example").failures == 0


def test_an_order_of_which_nothing_more_is_wanted_is_kept_in_mind(stores: Stores) -> None:
    stores.webhooks.refuse_order("alice.1", "order-1", NOW)
    stores.webhooks.refuse_order("alice.1", "order-1", LATER)
    assert stores.webhooks.is_refused("alice.1", "order-1")
    assert not stores.webhooks.is_refused("alice.1", "order-2")
    assert not stores.webhooks.is_refused("bob.1", "order-1")
    assert list(stores.webhooks.of_customer("alice")) == []


def test_a_delivery_is_written_once(stores: Stores) -> None:
    delivery = delivery_of()
    stores.webhooks.add_delivery(delivery)
    tried = delivery.retry("answered 500", LATER, 0)
    assert stores.webhooks.save_delivery(tried, expected=delivery)
    stores.webhooks.add_delivery(delivery)
    assert stores.webhooks.delivery("alice.1", delivery.delivery_id) == tried


def test_a_delivery_that_has_changed_since_is_not_written_over(stores: Stores) -> None:
    delivery = delivery_of()
    stores.webhooks.add_delivery(delivery)
    claimed = replace(delivery, next_time=LATER)
    assert stores.webhooks.save_delivery(claimed, expected=delivery)
    assert not stores.webhooks.save_delivery(claimed, expected=delivery)
    ended = claimed.end(DeliveryStatus.DELIVERED, "answered 204", LATER)
    assert stores.webhooks.save_delivery(ended, expected=claimed)
    assert not stores.webhooks.save_delivery(claimed, expected=claimed)
    again = ended.restart(1, LAST)
    assert stores.webhooks.save_delivery(again, expected=ended)
    assert not stores.webhooks.save_delivery(ended, expected=replace(again, attempt_series=0))
    assert not stores.webhooks.save_delivery(
        delivery_of(event_id="none"), expected=delivery_of(event_id="none")
    )


def test_as_many_large_deliveries_come_as_were_asked_for(stores: Stores) -> None:
    # GIVEN more than a page of DynamoDB's holds, which is 1 MB
    bodies = [
        replace(delivery_of(event_id=f"event-{n}", event_time=after(NOW, n)), body="x" * 300_000)
        for n in range(5)
    ]
    for delivery in bodies:
        stores.webhooks.add_delivery(delivery)
    # THEN the end of the page is not mistaken for the end of the log
    assert [each.delivery_id for each in stores.webhooks.deliveries("alice.1", None, 5)] == [
        each.delivery_id for each in bodies[::-1]
    ]
    assert len(stores.webhooks.deliveries("alice.1", None, 4)) == 4
    assert len(stores.webhooks.deliveries("alice.1", None, 10)) == 5


def test_deliveries_come_newest_first_page_by_page_and_of_one_webhook(stores: Stores) -> None:
    events = [delivery_of(event_id=f"event-{n}", event_time=after(NOW, n)) for n in range(5)]
    for delivery in events:
        stores.webhooks.add_delivery(delivery)
    stores.webhooks.add_delivery(delivery_of(webhook_of(webhook_id="alice.11")))
    newest_first = events[::-1]
    assert list(stores.webhooks.deliveries("alice.1", None, 2)) == newest_first[:2]
    assert list(stores.webhooks.deliveries("alice.1", newest_first[1].delivery_id, 10)) == newest_first[2:]
