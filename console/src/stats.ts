// What the events add up to. Pure: the time comes as an argument.

import type { Counts, Order, OrderEvent, Status } from "./types.ts";

/** A day's figures: what came to each status. */
export interface Today {
  placed: number;
  confirmed: number;
  shipped: number;
  refused: number;
  cancelled: number;
  expired: number;
  reasons: Record<string, number>;
}

export const NOTHING: Today = {
  placed: 0,
  confirmed: 0,
  shipped: 0,
  refused: 0,
  cancelled: 0,
  expired: 0,
  reasons: {},
};

export function todayOf(counts: Counts | undefined): Today {
  if (!counts) return NOTHING;
  const { placed, confirmed, shipped, cancelled, expired, refused } = counts;
  const sum = Object.values(refused).reduce((all, each) => all + each, 0);
  return { placed, confirmed, shipped, cancelled, expired, refused: sum, reasons: refused };
}

const FIELD: Record<string, keyof Omit<Today, "reasons">> = {
  "order.placed": "placed",
  "order.confirmed": "confirmed",
  "order.shipped": "shipped",
  "order.rejected": "refused",
  "order.cancelled": "cancelled",
  "order.expired": "expired",
};

/** The figures with some events more; those of another day do not count. */
export function countOn(today: Today, events: OrderEvent[], day: string): Today {
  const result = { ...today, reasons: { ...today.reasons } };
  for (const event of events) {
    const field = FIELD[event.type];
    if (!field || !event.time.startsWith(day)) continue;
    result[field] += 1;
    if (field === "refused" && event.reason) {
      result.reasons[event.reason] = (result.reasons[event.reason] ?? 0) + 1;
    }
  }
  return result;
}

function combined(a: Today, b: Today, of: (a: number, b: number) => number): Today {
  const reasons: Record<string, number> = {};
  for (const code of new Set([...Object.keys(a.reasons), ...Object.keys(b.reasons)])) {
    reasons[code] = of(a.reasons[code] ?? 0, b.reasons[code] ?? 0);
  }
  return {
    placed: of(a.placed, b.placed),
    confirmed: of(a.confirmed, b.confirmed),
    shipped: of(a.shipped, b.shipped),
    refused: of(a.refused, b.refused),
    cancelled: of(a.cancelled, b.cancelled),
    expired: of(a.expired, b.expired),
    reasons,
  };
}

export const added = (a: Today, b: Today): Today => combined(a, b, (x, y) => x + y);
/** Of two counts that may both lag, the further one. */
export const atLeast = (a: Today, b: Today): Today => combined(a, b, Math.max);

/** The value below which a share of them lies (nearest rank); nothing of none. */
export function percentile(values: number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

const WINDOW = 120; // seconds that are shown
const LATELY = 60_000; // milliseconds that the percentiles are of

/** Orders a second, and how long they took to be decided, over the last two minutes. */
export class Rates {
  private placed = new Map<number, number>(); // by the second in which their event came
  private decided: { at: number; took: number }[] = [];

  add(events: OrderEvent[], now: number): void {
    const second = Math.floor(now / 1000);
    for (const event of events) {
      if (event.type === "order.placed") this.placed.set(second, (this.placed.get(second) ?? 0) + 1);
      if (event.type === "order.confirmed" || event.type === "order.rejected") {
        this.decided.push({ at: now, took: Date.parse(event.time) - Date.parse(event.data.createTime) });
      }
    }
    const oldest = second - WINDOW;
    for (const key of this.placed.keys()) if (key < oldest) this.placed.delete(key);
    this.decided = this.decided.filter((each) => each.at > now - WINDOW * 1000 - LATELY).slice(-20_000);
  }

  /** Milliseconds from placed to decided, of what was decided within the last minute before `now`. */
  took(share: number, now: number): number | undefined {
    const lately = this.decided.filter((each) => each.at <= now && each.at > now - LATELY);
    return percentile(
      lately.map((each) => each.took),
      share,
    );
  }

  rate(now: number): number {
    const second = Math.floor(now / 1000);
    return this.placed.get(second - 1) ?? this.placed.get(second) ?? 0;
  }

  /** Seconds, orders placed in each, and p50 and p95 in seconds: the columns of a chart. */
  series(now: number): [number[], number[], (number | null)[], (number | null)[]] {
    const last = Math.floor(now / 1000);
    const seconds = Array.from({ length: WINDOW }, (_, index) => last - WINDOW + 1 + index);
    const taken = (share: number) =>
      seconds.map((second) => {
        const ms = this.took(share, (second + 1) * 1000);
        return ms === undefined ? null : ms / 1000;
      });
    return [seconds, seconds.map((second) => this.placed.get(second) ?? 0), taken(0.5), taken(0.95)];
  }
}

export interface Filter {
  customerId?: string | undefined;
  status?: string | undefined;
  reason?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

/** Whether a list that is filtered so has this order. */
export function matches(order: Order, filter: Filter): boolean {
  const codes = [order.checks.balance?.code, order.checks.stock?.code];
  return (
    (!filter.customerId || order.customerId === filter.customerId) &&
    (!filter.status || order.status === filter.status) &&
    (!filter.reason || (order.status === "REJECTED" && codes.includes(filter.reason))) &&
    (!filter.from || Date.parse(order.createTime) >= Date.parse(filter.from)) &&
    (!filter.to || Date.parse(order.createTime) <= Date.parse(filter.to))
  );
}

/** The list, newest first, as it is after these orders have changed; one that no longer matches leaves it. */
export function merged(orders: Order[], changed: Order[], filter: Filter): Order[] {
  const byId = new Map(orders.map((order) => [order.orderId, order]));
  for (const order of changed) {
    const known = byId.get(order.orderId);
    if (known && known.updateTime > order.updateTime) continue;
    if (matches(order, filter)) byId.set(order.orderId, order);
    else byId.delete(order.orderId);
  }
  return [...byId.values()].sort((a, b) =>
    a.createTime < b.createTime ? 1 : a.createTime > b.createTime ? -1 : 0,
  );
}

/** How many of some orders are where. */
export interface Outcome {
  total: number;
  shipped: number;
  refused: number;
  ended: number; // cancelled or expired
  open: number;
  reasons: Record<string, number>;
}

export function outcomeOf(orders: { status: Status; code?: string | undefined }[]): Outcome {
  const outcome: Outcome = { total: orders.length, shipped: 0, refused: 0, ended: 0, open: 0, reasons: {} };
  for (const { status, code } of orders) {
    if (status === "SHIPPED") outcome.shipped += 1;
    else if (status === "REJECTED") {
      outcome.refused += 1;
      outcome.reasons[code ?? "UNKNOWN"] = (outcome.reasons[code ?? "UNKNOWN"] ?? 0) + 1;
    } else if (status === "CANCELLED" || status === "EXPIRED") outcome.ended += 1;
    else outcome.open += 1;
  }
  return outcome;
}

/** Events by when they happened: they may come in another order. */
export function newestFirst(events: OrderEvent[]): OrderEvent[] {
  return events.toSorted(
    (one, other) => other.time.localeCompare(one.time) || Number(other.sequence) - Number(one.sequence),
  );
}
