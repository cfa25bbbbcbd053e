"""Who is sent what while others are being sent something: one sender works inside of another's post."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from order_capture.application.deliver_webhooks import CLAIM_SECONDS, SLOT_DELAY, deliver_webhooks
from order_capture.application.messages import DeliverWebhook
from order_capture.domain.times import after
from order_capture.domain.webhooks import (
    DEADLINE,
    SLOTS,
    Answer,
    Delivery,
    DeliveryStatus,
    Host,
    WebhookStatus,
)
from tests.support.factories import NOW, callbacks_of, delivery_of, webhook_of
from tests.support.fakes import MemoryOutbox, MemoryWebhooks

HANGS, OK, GONE = Answer(None, "no answer in 15 s"), Answer(204), Answer(410)


class Senders:
    """Any number of them, over one store."""

    def __init__(self) -> None:
        self.webhooks, self.again, self.letters = MemoryWebhooks(), MemoryOutbox(), MemoryOutbox()
        self.now = NOW
        self.posted: list[str] = []
        self.answer = OK
        self.meanwhile: list[Callable[[], object]] = []
        self.webhooks.add(callbacks_of())

    def delivery(self, number: int, url: str) -> Delivery:
        delivery = delivery_of(callbacks_of(), f"event-{number}", callback_url=url)
        self.webhooks.add_delivery(delivery)
        return delivery

    def send(self, delivery: Delivery, round_: int | None = None) -> set[str]:
        message = DeliverWebhook.of(delivery, round_=round_)
        dead_letters, clock = self.letters, lambda: self.now
        return deliver_webhooks(
            self.webhooks, self._post, self.again, dead_letters, [message], clock, lambda: 0
        )

    def stored(self, delivery: Delivery) -> Delivery:
        stored = self.webhooks.delivery(delivery.webhook_id, delivery.delivery_id)
        assert stored is not None
        return stored

    def host(self, name: str) -> Host:
        return self.webhooks.host(callbacks_of().webhook_id, name)

    def _post(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        self.posted.append(url)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return self.answer


@pytest.fixture
def senders() -> Senders:
    return Senders()


def failing(senders: Senders, name: str) -> None:
    """That host has failed once, and its rest is over."""
    well = senders.host(name)
    assert senders.webhooks.save_host(well.after_try(NOW, success=False), over=well, now=NOW)
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


def test_a_customer_has_so_many_under_way_wherever_they_go(senders: Senders) -> None:
    deliveries = [senders.delivery(n, f"https://host{n}.example/") for n in range(SLOTS + 1)]
    senders.meanwhile = [lambda each=each: senders.send(each) for each in deliveries[1:]]  # type: ignore[misc]
    senders.send(deliveries[0])

    # each in the post of the one before, so that the first are all under way when the fifth comes
    assert len(senders.posted) == SLOTS
    assert senders.stored(deliveries[SLOTS]).status is DeliveryStatus.PENDING
    # which is asked for again after a moment
    assert senders.again.taken() == [DeliverWebhook.of(deliveries[SLOTS], delay=SLOT_DELAY)]
    # and the slots are given back
    senders.send(deliveries[SLOTS])
    assert len(senders.posted) == SLOTS + 1


def test_nothing_is_sent_before_its_time(senders: Senders) -> None:
    delivery = senders.delivery(1, "https://a.example/")
    later = replace(delivery, next_time=after(NOW, 0.5))
    assert senders.webhooks.save_delivery(later, over=delivery)

    senders.send(later)
    assert senders.posted == []
    assert senders.again.taken() == [DeliverWebhook.of(later, delay=1)]

    senders.now = later.next_time
    senders.send(later)
    assert senders.posted == ["https://a.example/"]


def test_a_delivery_that_is_begun_anew_is_sent_at_the_first_look(senders: Senders) -> None:
    delivery = senders.delivery(1, "https://a.example/")
    senders.send(delivery)

    assert senders.send(delivery, round_=1) == set()

    assert senders.posted == ["https://a.example/"] * 2
    assert (senders.stored(delivery).status, senders.stored(delivery).round) == (DeliveryStatus.DELIVERED, 1)


def test_while_a_host_rests_nothing_is_sent_there_until_its_rest_is_over(senders: Senders) -> None:
    failing(senders, "a.example")
    senders.now = NOW
    delivery = senders.delivery(1, "https://a.example/")

    senders.send(delivery)

    assert senders.posted == []
    assert senders.again.taken() == [DeliverWebhook.of(delivery, delay=5 + SLOT_DELAY)]


@pytest.mark.parametrize(("answer", "failures"), [(HANGS, 2), (OK, 0), (GONE, 0)])
def test_a_host_that_failed_is_as_its_last_answer_was(
    senders: Senders, answer: Answer, failures: int
) -> None:
    failing(senders, "a.example")
    senders.answer = answer
    senders.send(senders.delivery(1, "https://a.example/"))

    assert senders.host("a.example").failures == failures
    assert (senders.host("a.example").rest_until > senders.now) is (failures > 0)


def test_of_several_that_find_out_at_once_that_a_host_hangs_the_first_says_so(senders: Senders) -> None:
    one, two = (senders.delivery(n, f"https://a.example/{n}") for n in range(2))
    senders.answer, senders.meanwhile = HANGS, [lambda: senders.send(two)]
    senders.send(one)

    assert len(senders.posted) == 2
    assert senders.host("a.example").failures == 1
    assert not any(senders.webhooks.of_customer("alice")[0].slots)


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
    senders.webhooks.save_delivery = lambda delivery, over: False  # type: ignore[method-assign]
    senders.send(delivery)
    senders.webhooks.save_delivery = save  # type: ignore[method-assign]

    assert senders.posted == []
    assert senders.host("a.example") == was
    assert not any(senders.webhooks.of_customer("alice")[0].slots)


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
    resting = webhook_of(status=WebhookStatus.DISABLED, failures=1, rest_until=after(NOW, DEADLINE + 60))
    delivery = delivery_of(resting)
    senders.webhooks.add(resting)
    senders.webhooks.add_delivery(delivery)
    # WHEN it is looked at after its day
    senders.now = after(NOW, DEADLINE)
    senders.send(delivery)
    # THEN it has failed for that reason alone: there is nothing to redrive
    assert senders.stored(delivery).status is DeliveryStatus.FAILED
    assert senders.stored(delivery).attempts[-1].result == "the webhook is disabled"
    assert (senders.posted, senders.again.taken(), senders.letters.taken()) == ([], [], [])
