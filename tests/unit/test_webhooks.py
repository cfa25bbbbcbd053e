"""The rules of webhooks: signatures, retry times, and forbidden addresses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from order_capture.domain.errors import StatusConflictError
from order_capture.domain.events import OrderEventType
from order_capture.domain.ip_ranges import is_public
from order_capture.domain.signatures import secret_of, signature
from order_capture.domain.times import after
from order_capture.domain.webhooks import (
    DEADLINE,
    QUICK_SECONDS,
    SLOTS,
    DeliveryResponse,
    DeliveryStatus,
    Lane,
    ReceiverHealth,
    Share,
    WebhookStatus,
    customer_id_of,
    seconds_until,
    webhook_id_of,
)
from tests.support.factories import NOW, WEBHOOK_SECRET, callbacks_of, delivery_of, webhook_of

SECRET, OTHER = WEBHOOK_SECRET, secret_of(bytes(range(1, 33)))


class TestSignatures:
    @staticmethod
    def headers(*secrets: str, message_id: str = "msg-1", age: int = 0, body: str = "{}") -> dict[str, str]:
        timestamp = int(datetime.now(UTC).timestamp()) - age
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secrets, message_id, timestamp, body),
        }

    def test_the_standards_own_library_takes_them(self) -> None:
        body = '{"of": "żółw"}'
        assert Verifier(SECRET).verify(body, self.headers(SECRET, body=body)) == {"of": "żółw"}

    def test_the_standards_own_example_is_signed_alike(self) -> None:
        secret, message_id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
        assert (
            signature([secret], message_id, 1614265330, '{"test": 2432232314}')
            == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        )

    @pytest.mark.parametrize("change", ["body", "id", "time", "secret", "old"])
    def test_what_was_forged_or_is_old_is_refused(self, change: str) -> None:
        headers, body = self.headers(SECRET, age=301 if change == "old" else 0), "{}"
        match change:
            case "body":
                body = "[]"
            case "id":
                headers["webhook-id"] = "msg-2"
            case "time":
                headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
            case "secret":
                headers = self.headers(OTHER)
        with pytest.raises(WebhookVerificationError):
            Verifier(SECRET).verify(body, headers)

    def test_for_a_day_a_receiver_is_right_with_the_old_secret_and_with_the_new(self) -> None:
        rotated = webhook_of().rotate(OTHER, NOW)
        headers = self.headers(*rotated.secrets(after(NOW, 23 * 3600)))
        assert Verifier(SECRET).verify("{}", headers) == {}
        assert Verifier(OTHER).verify("{}", headers) == {}
        assert rotated.secrets(after(NOW, 24 * 3600)) == [OTHER]

    def test_what_is_turned_off_gets_no_new_secret(self) -> None:
        with pytest.raises(StatusConflictError):
            webhook_of(status=WebhookStatus.DISABLED).rotate(OTHER, NOW)


class TestWebhooks:
    def test_an_id_says_whose_it_is(self) -> None:
        assert customer_id_of(webhook_id_of("a.b@c", "0f")) == "a.b@c"

    def test_it_gets_the_events_that_it_named_or_all(self) -> None:
        ends = webhook_of(event_types=(OrderEventType.SHIPPED, OrderEventType.REJECTED))
        assert [each for each in OrderEventType if ends.matches(each)] == ["order.rejected", "order.shipped"]
        assert all(webhook_of().matches(each) for each in OrderEventType)

    def test_what_is_turned_off_gets_no_events(self) -> None:
        assert not any(webhook_of(status=WebhookStatus.DISABLED).matches(each) for each in OrderEventType)


def share(lane: Lane, *taken: str, answer_ms: int = 100) -> Share:
    """A customer whose first slots of a lane are taken until these times."""
    slots = {each: ("",) * count for each, count in SLOTS.items()}
    return Share("alice", {**slots, lane: (*taken, *slots[lane][len(taken) :])}, answer_ms)


class TestShares:
    @pytest.mark.parametrize("lane", Lane)
    def test_a_customer_has_only_so_many_deliveries_under_way_in_a_lane(self, lane: Lane) -> None:
        taken = [after(NOW, 30)] * SLOTS[lane]
        assert share(lane).free(lane, NOW) == list(range(SLOTS[lane]))
        assert share(lane, *taken[1:]).free(lane, NOW) == [SLOTS[lane] - 1]
        assert share(lane, *taken).free(lane, NOW) == []

    def test_what_is_taken_in_one_lane_is_free_in_the_other(self) -> None:
        taken = share(Lane.SLOW, *[after(NOW, 30)] * SLOTS[Lane.SLOW])
        assert len(taken.free(Lane.QUICK, NOW)) == SLOTS[Lane.QUICK]

    def test_the_slot_of_a_sender_that_died_is_free_again_after_its_time(self) -> None:
        assert 0 in share(Lane.QUICK, NOW).free(Lane.QUICK, NOW)

    @pytest.mark.parametrize(("answer_ms", "at_once"), [(1, 8), (250, 8), (300, 6), (1000, 2), (1900, 1)])
    def test_in_the_quick_lane_are_as_many_at_once_as_take_two_seconds(
        self, answer_ms: int, at_once: int
    ) -> None:
        assert len(share(Lane.QUICK, answer_ms=answer_ms).free(Lane.QUICK, NOW)) == at_once
        assert len(share(Lane.SLOW, answer_ms=answer_ms).free(Lane.SLOW, NOW)) == SLOTS[Lane.SLOW]
        taken = share(Lane.QUICK, *[after(NOW, 30)] * at_once, answer_ms=answer_ms)
        assert taken.free(Lane.QUICK, NOW) == []

    def test_a_customer_of_whom_nothing_is_known_begins_with_one_and_soon_has_all(self) -> None:
        new, at_once = share(Lane.QUICK, answer_ms=Share("alice", {}).answer_ms), []
        for _ in range(4):
            at_once.append(len(new.free(Lane.QUICK, NOW)))
            new = replace(new, answer_ms=new.after_answer(0.1))
        assert at_once == [1, 2, 4, 8]
        assert new.after_answer(1.5) == 1500

    def test_the_longer_an_answer_took_the_longer_its_slot_rests(self) -> None:
        assert [round(Share.backoff(Lane.QUICK, each), 1) for each in (0.1, 1, 2)] == [1.1, 20, 60]
        assert Share.backoff(Lane.SLOW, 14) == 0


class TestReceivers:
    WELL = ReceiverHealth("alice.1", "a.example")

    def test_one_that_fails_rests_longer_each_time_and_is_well_after_one_success(self) -> None:
        receiver, rests = self.WELL, []
        for _ in range(8):
            receiver = receiver.after_attempt(DeliveryResponse(500), 0.1, NOW)
            rests.append(round(seconds_until(receiver.backoff_until, NOW)))
        assert rests == [5, 10, 20, 40, 80, 160, 300, 300]
        assert receiver.after_attempt(DeliveryResponse(204), 0.1, NOW) == self.WELL
        assert receiver.after_attempt(DeliveryResponse(410), 0.1, NOW) == self.WELL

    def test_one_that_goes_on_failing_waits_in_the_slow_lane(self) -> None:
        assert [replace(self.WELL, failures=n).lane(NOW) for n in (0, 2, 3)] == ["QUICK", "QUICK", "SLOW"]

    def test_one_that_takes_long_is_slow_for_longer_each_time_up_to_a_day(self) -> None:
        receiver, now, times = self.WELL, NOW, []
        for _ in range(6):
            receiver = receiver.after_attempt(DeliveryResponse(200), QUICK_SECONDS + 0.1, now)
            assert receiver.lane(now) is Lane.SLOW
            times.append(round(seconds_until(receiver.slow_until, now)))
            now = receiver.slow_until
            assert receiver.lane(now) is Lane.QUICK
        assert times == [300, 1200, 4800, 19200, 76800, 86400]

    def test_one_that_was_slow_long_ago_begins_again(self) -> None:
        once = self.WELL.after_attempt(DeliveryResponse(200), 3, NOW)
        again = once.after_attempt(DeliveryResponse(200), 3, after(once.slow_until, 301))
        assert again.slow_for == 300

    def test_one_that_is_slow_all_the_time_is_not_written_each_time(self) -> None:
        slow = replace(self.WELL, slow_for=86400, slow_until=after(NOW, 86400))
        assert slow.after_attempt(DeliveryResponse(200), 14, after(NOW, 3600)) == slow
        assert slow.after_attempt(DeliveryResponse(200), 14, after(NOW, 9000)) != slow

    def test_one_that_answers_in_time_meanwhile_stays_slow_for_as_long(self) -> None:
        slow = self.WELL.after_attempt(DeliveryResponse(200), 3, NOW)
        assert slow.after_attempt(DeliveryResponse(200), 0.1, NOW) == slow


class TestCallbacks:
    URL = "https://a.example/x"

    def test_they_get_every_event_of_an_order_that_names_an_address_and_of_no_other(self) -> None:
        assert all(callbacks_of().matches(each, self.URL) for each in OrderEventType)
        assert not any(callbacks_of().matches(each) for each in OrderEventType)

    def test_a_webhook_gets_the_events_of_an_order_whatever_address_it_names(self) -> None:
        assert webhook_of().matches(OrderEventType.SHIPPED, self.URL)

    def test_only_a_callback_goes_to_the_orders_address(self) -> None:
        assert delivery_of(callbacks_of(), callback_url=self.URL).callback_url == self.URL
        assert delivery_of(webhook_of(), callback_url=self.URL).callback_url == ""

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://A.Example/x?y", "a.example"),
            ("https://a.example:8443", "a.example:8443"),
            ("https://a.example?at=b.example/", "a.example"),
        ],
    )
    def test_a_host_is_one_however_its_addresses_are_written(self, url: str, host: str) -> None:
        assert delivery_of(callbacks_of(), callback_url=url).host == host


class TestDeliveries:
    def test_an_event_is_the_same_delivery_to_a_webhook_however_often_it_comes(self) -> None:
        ids = {delivery_of(event_id="event-1").delivery_id, delivery_of(event_id="event-1").delivery_id}
        assert len(ids) == 1

    def test_another_event_or_another_webhook_is_another_delivery(self) -> None:
        ids = {
            delivery_of().delivery_id,
            delivery_of(event_id="event-2").delivery_id,
            delivery_of(webhook_of(webhook_id="alice.2")).delivery_id,
        }
        assert len(ids) == 3

    def test_their_ids_sort_as_the_events_happened(self) -> None:
        times = ["1999-01-01T00:00:00.000Z", NOW, after(NOW, 0.001), "2199-01-01T00:00:00.000Z"]
        ids = [delivery_of(event_time=time).delivery_id for time in times]
        assert ids == sorted(ids)

    @pytest.mark.parametrize("chance", [0.0, 1.0])
    def test_it_is_tried_for_a_day_ever_more_rarely(self, chance: float) -> None:
        # GIVEN a receiver that never accepts it
        delivery, now, waits = delivery_of(), NOW, []
        # WHEN each attempt is made when it is due
        while not delivery.is_overdue(now):
            delivery = delivery.retry("answered 500", now, chance)
            waits.append(round(seconds_until(delivery.next_time, now)))
            now = delivery.next_time
        # THEN the waits are the standard's, a tenth longer at most, and the last attempt is after a day
        usual = [5, 300, 1800, 7200, 18000, 36000]
        assert waits[:-1] == [round(wait * (1 + chance / 10)) for wait in usual]
        assert now == after(NOW, 24 * 3600)
        assert delivery.attempt_count == len(delivery.attempts) == 7

    @pytest.mark.parametrize("status", [413, 429, 503])
    @pytest.mark.parametrize(("requested", "wait"), [(0, 5), (3, 5), (120, 120), (3600, 3600), (1e9, 3600)])
    def test_a_receiver_that_asks_for_a_pause_has_it(
        self, status: int, requested: float, wait: float
    ) -> None:
        answer = DeliveryResponse(status, retry_after=requested)
        retried = delivery_of().retry("answered", NOW, 0, answer.pause)
        assert seconds_until(retried.next_time, NOW) == wait
        receiver = ReceiverHealth("alice.1", "a.example").after_attempt(answer, 0.1, NOW)
        assert seconds_until(receiver.backoff_until, NOW) == wait

    def test_it_is_never_tried_sooner_than_without_nor_after_its_deadline(self) -> None:
        tried_often = replace(delivery_of(), attempt_count=4)
        assert seconds_until(tried_often.retry("answered 429", NOW, 0, 3600).next_time, NOW) == 18000
        late = after(NOW, DEADLINE - 60)
        assert delivery_of().retry("answered 429", late, 1, 3600).next_time == after(NOW, DEADLINE)

    @pytest.mark.parametrize("status", [200, 301, 307, 400, 410, 500, 502, None])
    def test_with_any_other_answer_a_pause_is_not_asked_for(self, status: int | None) -> None:
        assert DeliveryResponse(status, retry_after=120).pause == 0

    def test_what_is_handed_over_to_the_slow_lane_is_due_at_once_and_has_its_tries_left(self) -> None:
        handed = delivery_of().move_to_slow("no response within 2 s", after(NOW, 2))
        assert (handed.attempt_count, handed.next_time) == (0, after(NOW, 2))
        assert [each.result for each in handed.attempts] == ["no response within 2 s"]

    def test_a_replay_restarts_under_the_same_id(self) -> None:
        failed = delivery_of().end(DeliveryStatus.FAILED, "answered 500", after(NOW, 90_000))
        again = failed.restart(1, after(NOW, 100_000))
        assert again.delivery_id == failed.delivery_id
        assert (again.status, again.attempt_count, len(again.attempts)) == (DeliveryStatus.PENDING, 0, 1)
        assert not again.is_overdue(after(NOW, 100_000))

    def test_of_many_tries_the_last_twenty_are_kept(self) -> None:
        delivery = delivery_of()
        for number in range(30):
            delivery = delivery.restart(number, NOW).retry(f"answered {number}", NOW, 0)
        assert [each.result for each in delivery.attempts] == [f"answered {n}" for n in range(10, 30)]

    @pytest.mark.parametrize(
        ("status", "success"),
        [(200, True), (204, True), (299, True), (199, False), (302, False), (410, False)],
    )
    def test_any_2xx_and_nothing_else_is_a_success(self, status: int, success: bool) -> None:
        assert DeliveryResponse(status).is_success is success
        assert DeliveryResponse(status).is_gone is (status == 410)

    def test_no_answer_is_no_success(self) -> None:
        assert not DeliveryResponse(None, "no response within 15 s").is_success


FORBIDDEN = [
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "192.88.99.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00:1450::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_nothing_is_sent_to(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_sent_to(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "2130706433", "127.1"])
def test_what_is_no_address_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        is_public(text)
