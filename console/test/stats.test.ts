import assert from "node:assert/strict";
import { test } from "node:test";
import {
  atLeast,
  countOn,
  matches,
  merged,
  NOTHING,
  newestFirst,
  outcomeOf,
  percentile,
  Rates,
  todayOf,
} from "../src/stats.ts";
import type { Order, OrderEvent, Status } from "../src/types.ts";

const CREATED = "2026-11-20T10:00:00.000Z";

function order(orderId: string, status: Status, more: Partial<Order> = {}): Order {
  return {
    orderId,
    customerId: "alice",
    items: [{ productId: "mug", qty: 1 }],
    totalAmount: 1,
    status,
    logs: [],
    checks: {},
    createTime: CREATED,
    updateTime: CREATED,
    correlationId: "c",
    ...more,
  };
}

function event(type: string, time: string, more: Partial<OrderEvent> = {}): OrderEvent {
  return {
    specversion: "1.0",
    id: `${type}${time}`,
    type: type as OrderEvent["type"],
    time,
    subject: "o1",
    sequence: "1",
    data: order("o1", "PENDING"),
    ...more,
  };
}

test("events count on from the day's report, those of another day do not", () => {
  const reported = todayOf({
    placed: 3,
    confirmed: 1,
    shipped: 1,
    cancelled: 0,
    expired: 0,
    refused: { UNKNOWN_PRODUCT: 1 },
  });
  const counted = countOn(
    reported,
    [
      event("order.placed", "2026-11-20T10:00:01.000Z"),
      event("order.rejected", "2026-11-20T10:00:02.000Z", { reason: "INSUFFICIENT_STOCK" }),
      event("order.placed", "2026-11-19T23:59:59.999Z"),
      event("order.unheard-of", "2026-11-20T10:00:03.000Z"),
    ],
    "2026-11-20",
  );
  assert.equal(counted.placed, 4);
  assert.equal(counted.refused, 2);
  assert.deepEqual(counted.reasons, { UNKNOWN_PRODUCT: 1, INSUFFICIENT_STOCK: 1 });
  assert.deepEqual(reported.reasons, { UNKNOWN_PRODUCT: 1 }, "the report itself is not changed");
});

test("a report that lags takes nothing back", () => {
  const counted = { ...NOTHING, placed: 10, reasons: { A: 2 } };
  const reported = { ...NOTHING, placed: 7, shipped: 4, reasons: { A: 1, B: 1 } };
  assert.deepEqual(atLeast(reported, counted), {
    ...NOTHING,
    placed: 10,
    shipped: 4,
    reasons: { A: 2, B: 1 },
  });
});

test("percentiles are by nearest rank", () => {
  assert.equal(percentile([], 0.5), undefined);
  assert.equal(percentile([7], 0.95), 7);
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile(hundred, 0.95), 95);
});

test("how long deciding takes is of the last minute, and by the events' own times", () => {
  const rates = new Rates();
  const now = 1_000_000_000;
  rates.add([event("order.confirmed", "2026-11-20T10:00:00.250Z")], now);
  rates.add([event("order.shipped", "2026-11-20T10:00:09.000Z")], now);
  assert.equal(rates.took(0.5, now), 250);
  assert.equal(rates.took(0.5, now + 60_001), undefined);
  rates.add([event("order.placed", CREATED), event("order.placed", CREATED)], now);
  const [seconds, placed] = rates.series(now);
  assert.equal(seconds.length, 120);
  assert.equal(placed.at(-1), 2);
});

test("a filter has what the API's would have", () => {
  const refused = order("o", "REJECTED", {
    checks: { stock: { outcome: "DECLINED", code: "INSUFFICIENT_STOCK", asked: 1 } },
  });
  assert.ok(matches(refused, {}));
  assert.ok(matches(refused, { reason: "INSUFFICIENT_STOCK", status: "REJECTED", customerId: "alice" }));
  assert.ok(!matches(refused, { reason: "UNKNOWN_PRODUCT" }));
  assert.ok(!matches({ ...refused, status: "EXPIRED" }, { reason: "INSUFFICIENT_STOCK" }));
  assert.ok(matches(refused, { from: CREATED, to: "2026-11-20T11:00:00+01:00" }), "both ends belong to it");
  assert.ok(!matches(refused, { to: "2026-11-20T10:59:59+01:00" }));
});

test("a list stays newest first, drops what no longer matches, and never goes back", () => {
  const older = order("a", "PENDING", { createTime: "2026-11-20T09:00:00.000Z" });
  const newer = order("b", "PENDING");
  const added = merged([older], [newer], {});
  assert.deepEqual(
    added.map((each) => each.orderId),
    ["b", "a"],
  );
  const shipped = { ...older, status: "SHIPPED" as Status, updateTime: "2026-11-20T10:00:05.000Z" };
  assert.deepEqual(merged(added, [shipped], { status: "PENDING" }), [newer]);
  assert.equal(merged([shipped], [older], {})[0]?.status, "SHIPPED", "a late event changes nothing");
});

test("an outcome counts each order once, with reasons", () => {
  const outcome = outcomeOf([
    { status: "SHIPPED" },
    { status: "REJECTED", code: "INSUFFICIENT_STOCK" },
    { status: "REJECTED", code: "INSUFFICIENT_STOCK" },
    { status: "EXPIRED" },
    { status: "CONFIRMED" },
  ]);
  assert.deepEqual(outcome, {
    total: 5,
    shipped: 1,
    refused: 2,
    ended: 1,
    open: 1,
    reasons: { INSUFFICIENT_STOCK: 2 },
  });
});

test("events are shown as they happened, however they come", () => {
  const event = (type: string, time: string, sequence: string) =>
    ({ type, time, sequence }) as unknown as OrderEvent;
  const shipped = event("order.shipped", "2026-11-20T10:00:02.000Z", "3");
  const confirmed = event("order.confirmed", "2026-11-20T10:00:01.000Z", "2");
  const placed = event("order.placed", "2026-11-20T10:00:01.000Z", "1");

  assert.deepEqual(newestFirst([confirmed, shipped, placed]), [shipped, confirmed, placed]);
});
