// Orders to watch: they make customers and products of their own, by the API that everybody uses.

import { signal } from "@preact/signals";
import { address, get, newKey, send } from "./api.ts";
import { cents, isOpen, refusal } from "./format.ts";
import { latestOrder, onEvents } from "./live.ts";
import { type Outcome, outcomeOf } from "./stats.ts";
import type { BatchEntry, NewOrder, Order } from "./types.ts";

export type DemoKind = "one" | "batch" | "flash";

export interface Run {
  name: string;
  step: string;
  outcome: Outcome;
  orderIds: string[];
  done: boolean;
  error?: unknown;
}

export const run = signal<Run | undefined>(undefined);

const COFFEE = "demo-espresso-beans";
const PAPERS = "demo-filter-papers";
const HOT = "demo-limited-edition";
const PRICES: Record<string, number> = { [COFFEE]: 12.75, [PAPERS]: 3.95, [HOT]: 49 };
const customer = (number: number): string => `demo-customer-${number}`;

const setStock = (productId: string, balance: number) =>
  send("POST", address(["stock"]), { productId, balance, price: PRICES[productId] }, newKey());
const setBalance = (customerId: string, balance: number) =>
  send("POST", address(["account"]), { customerId, balance }, newKey());

function order(customerId: string, productId: string, qty: number, price = PRICES[productId]): NewOrder {
  const unitPrice = price ?? 1;
  return { customerId, items: [{ productId, qty, unitPrice }], totalAmount: cents(qty * unitPrice) };
}

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

interface Plan {
  name: string;
  prepare: () => Promise<unknown>[];
  orders: () => NewOrder[];
}

const PLANS: Record<DemoKind, Plan> = {
  one: {
    name: "A demo order",
    prepare: () => [setStock(COFFEE, 1000), setBalance(customer(1), 1000)],
    orders: () => [order(customer(1), COFFEE, 2)],
  },
  batch: {
    name: "A batch of 20",
    // Some of them can't be had, so that each reason is seen.
    prepare: () => [
      setStock(COFFEE, 1000),
      setStock(PAPERS, 60),
      ...times(4, (index) => setBalance(customer(index + 1), 1000)),
      setBalance("demo-poor-customer", 5),
    ],
    orders: () => [
      ...times(14, (index) => order(customer((index % 4) + 1), index % 3 ? COFFEE : PAPERS, (index % 3) + 1)),
      ...times(2, () => order("demo-poor-customer", COFFEE, 1)),
      order(customer(1), PAPERS, 100),
      order(customer(2), "demo-unknown-product", 1, 5),
      order("demo-unknown-customer", PAPERS, 1),
      order(customer(3), COFFEE, 1, 0.01),
    ],
  },
  flash: {
    name: "A flash sale: 100 orders for 10 units",
    prepare: () => [
      setStock(HOT, 10),
      ...times(10, (index) => setBalance(`demo-shopper-${index + 1}`, 5000)),
    ],
    orders: () => times(100, (index) => order(`demo-shopper-${(index % 10) + 1}`, HOT, 1)),
  },
};

const AT_ONCE = 4;

export async function startDemo(kind: DemoKind): Promise<void> {
  const plan = PLANS[kind];
  const show = (change: Partial<Run>) => {
    run.value = { ...(run.peek() as Run), ...change };
  };
  const outcome = outcomeOf([]);
  run.value = { name: plan.name, step: "Making customers and products", outcome, orderIds: [], done: false };
  try {
    await Promise.all(plan.prepare());
    const orders = plan.orders();
    show({ step: `Placing ${orders.length === 1 ? "the order" : `${orders.length} orders`}` });
    const placed = await place(orders);
    show({ step: "Watching what becomes of them", orderIds: placed.map((each) => each.orderId) });
    await watch(placed, (outcome) => show({ outcome }));
    show({ step: "All decided", done: true });
  } catch (error) {
    show({ error, done: true });
  }
}

async function place(orders: NewOrder[]): Promise<Order[]> {
  const [only] = orders;
  if (orders.length === 1 && only) return [await placeOrder(only, newKey())];
  const { body } = await send<{ orders: BatchEntry[] }>("POST", address(["orders"]), { orders }, newKey());
  return body.orders.filter((entry): entry is Order => entry.orderId !== undefined);
}

export const placeOrder = async (order: NewOrder, key: string): Promise<Order> =>
  (await send<Order>("POST", address(["order"]), order, key)).body;

const LOOK_EVERY = 4000;

/** Follows orders until all have ended: by their events, and by the list, should events be late or lost. */
export async function watch(orders: Order[], show: (outcome: Outcome) => void): Promise<void> {
  const states = new Map<string, Order>();
  const note = (order: Order) => {
    const known = states.get(order.orderId);
    if (!known || known.updateTime < order.updateTime) states.set(order.orderId, order);
  };
  // Events may have been quicker than the answer.
  for (const order of orders) note(latestOrder(order.orderId) ?? order);
  const open = () => [...states.values()].filter((order) => isOpen(order.status));
  const tell = () =>
    show(outcomeOf([...states.values()].map((order) => ({ status: order.status, code: refusal(order) }))));
  tell();
  const forget = onEvents((events) => {
    const own = events.filter((event) => states.has(event.subject));
    for (const event of own) note(latestOrder(event.subject) ?? event.data);
    if (own.length) tell();
  });
  try {
    let lookedAt = Date.now();
    while (open().length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      if (Date.now() - lookedAt < LOOK_EVERY) continue;
      lookedAt = Date.now();
      for (const order of await read(open())) note(order);
      tell();
    }
  } finally {
    forget();
  }
}

/** Orders as they are now: most by one page of the newest, some of the others one by one. */
async function read(open: Order[]): Promise<Order[]> {
  const ids = new Set(open.map((order) => order.orderId));
  const from = open.map((order) => order.createTime).sort()[0];
  try {
    const page = await get<{ orders: Order[] }>(address(["orders"], { from, limit: 100 }));
    const found = page.body.orders.filter((order) => ids.delete(order.orderId));
    const others = [...ids].slice(0, AT_ONCE).map((id) => get<Order>(address(["order", id])));
    return [...found, ...(await Promise.all(others)).map((answer) => answer.body)];
  } catch {
    // The page says above that the API is away; they are read again.
    return [];
  }
}
