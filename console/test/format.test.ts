import assert from "node:assert/strict";
import { test } from "node:test";
import {
  amount,
  cents,
  checkWords,
  clock,
  duration,
  fromInputTime,
  inputTime,
  logLine,
  pretty,
  reasonWords,
  refusal,
  shortId,
} from "../src/format.ts";
import type { Check } from "../src/types.ts";

test("amounts have two places, however large", () => {
  assert.equal(amount(0), "0.00");
  assert.equal(amount(999_999_999_999.99), "999,999,999,999.99");
});

test("a sum of decimals is what it is on paper", () => {
  assert.equal(cents(0.1 + 0.2), 0.3);
  assert.equal(cents(3 * 1.1), 3.3);
});

test("durations are read at a glance", () => {
  const shown = [0, 120, 1240, 59_900, 184_000, 7_500_000, 266_400_000].map(duration);
  assert.deepEqual(shown, ["0 ms", "120 ms", "1.24 s", "1 min 0 s", "3 min 4 s", "2 h 5 min", "3 d 2 h"]);
  assert.equal(duration(-5), "0 ms", "clocks may differ");
});

test("a moment survives its way through an input", () => {
  const moment = "2026-11-20T10:00:00.123Z";
  assert.equal(fromInputTime(inputTime(moment)), moment);
  assert.equal(fromInputTime(""), undefined);
  assert.equal(fromInputTime("nonsense"), undefined);
  assert.equal(clock("not a time"), "not a time");
});

test("a long id is shortened, a short one is not", () => {
  assert.equal(shortId("3f2c8a54-6f0e-4c1b-9a53-2d1f7b8f4e10"), "3f2c8a54");
  assert.equal(shortId("order-1"), "order-1");
});

test("a reason that is not known is readable", () => {
  assert.equal(reasonWords("INSUFFICIENT_STOCK"), "not enough in stock");
  assert.equal(reasonWords("FRAUD_SUSPECTED"), "fraud suspected");
});

test("a refusal's code is that of the check that declined", () => {
  const held: Check = { outcome: "HELD", asked: 1 };
  const declined: Check = { outcome: "DECLINED", code: "INSUFFICIENT_STOCK", asked: 5, available: 2 };
  assert.equal(
    refusal({ status: "REJECTED", checks: { balance: held, stock: declined } }),
    "INSUFFICIENT_STOCK",
  );
  assert.equal(refusal({ status: "CANCELLED", checks: { stock: declined } }), undefined);
  assert.equal(refusal({ status: "REJECTED", checks: {} }), undefined);
});

test("a check is described with its figures", () => {
  const short: Check = {
    outcome: "DECLINED",
    code: "INSUFFICIENT_BALANCE",
    id: "bob",
    asked: 449,
    available: 20,
  };
  assert.equal(checkWords("balance", short), "bob: asked for 449.00, there was 20.00");
  const price: Check = {
    outcome: "DECLINED",
    code: "PRICE_MISMATCH",
    id: "mug",
    asked: 1,
    price: 9,
    unitPrice: null,
  };
  assert.equal(checkWords("stock", price), "mug costs 9.00 a unit, the order names no price");
  assert.equal(
    checkWords("stock", { outcome: "HELD", id: null, asked: 3 }),
    "3 units of several products reserved for this order",
  );
});

test("a log line is its moment and its words, and a strange one is shown as it is", () => {
  assert.deepEqual(logLine("2026-11-20T10:00:00.123Z order received"), {
    time: "2026-11-20T10:00:00.123Z",
    words: "order received",
  });
  assert.deepEqual(logLine("strange"), { time: "", words: "strange" });
});

test("only JSON is laid out", () => {
  assert.equal(pretty('{"a":1}'), '{\n  "a": 1\n}');
  assert.equal(pretty("<script>"), "<script>");
});
