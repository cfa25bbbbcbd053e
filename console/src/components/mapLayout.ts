// Where everything is on the map: once for wide screens, once for phones.

import type { Today } from "../stats.ts";

export type Layout = "wide" | "tall";
export interface Place {
  x: number; // of its middle
  y: number;
  w: number;
  h: number;
}

export interface Node {
  id: string;
  kind: "step" | "topic" | "store" | "end";
  name: string;
  /** Its technical name. */
  sub?: string;
  about: string;
  /** The queue, topic or stream whose figures it shows. */
  queue?: string;
  count?: (today: Today) => number;
  tone?: "good" | "bad";
  wide: [number, number];
  tall: [number, number];
}

export const SIZES: Record<Layout, { width: number; height: number }> = {
  wide: { width: 1200, height: 536 },
  tall: { width: 380, height: 1186 },
};

const BOX: Record<Layout, Record<Node["kind"], [number, number]>> = {
  wide: { step: [184, 70], topic: [156, 54], store: [156, 56], end: [160, 40] },
  tall: { step: [180, 70], topic: [156, 54], store: [156, 56], end: [160, 38] },
};

export const NODES: Node[] = [
  {
    id: "api",
    kind: "step",
    name: "Order API",
    sub: "order_api",
    about: "Takes an order in, writes it, and answers at once with its id.",
    count: (today) => today.placed,
    wide: [95, 120],
    tall: [190, 44],
  },
  {
    id: "topic",
    kind: "topic",
    name: "OrderTopic",
    sub: "fan-out",
    queue: "order_topic",
    about: "Asks for both checks at once.",
    wide: [285, 120],
    tall: [190, 138],
  },
  {
    id: "balance",
    kind: "step",
    name: "Balance check",
    sub: "balance_checker",
    queue: "balance_checker",
    about: "Can the customer pay? Reserves the money, or says why not.",
    wide: [485, 56],
    tall: [95, 232],
  },
  {
    id: "stock",
    kind: "step",
    name: "Stock check",
    sub: "stock_checker",
    queue: "stock_checker",
    about: "Is it there? Reserves the units, or says why not.",
    wide: [485, 184],
    tall: [285, 232],
  },
  {
    id: "decide",
    kind: "step",
    name: "Decide",
    sub: "order_update",
    queue: "order_update",
    about: "Confirms the order if both checks hold, refuses it if one does not.",
    wide: [705, 120],
    tall: [190, 340],
  },
  {
    id: "ship",
    kind: "step",
    name: "Ship",
    sub: "ship_order",
    queue: "ship_order",
    about: "Ships confirmed orders, and settles their money and units.",
    wide: [905, 120],
    tall: [95, 448],
  },
  {
    id: "shipped",
    kind: "end",
    name: "✓ Shipped",
    about: "Shipped today (UTC)",
    tone: "good",
    count: (today) => today.shipped,
    wide: [1114, 120],
    tall: [95, 538],
  },
  {
    id: "refused",
    kind: "end",
    name: "✕ Refused",
    about: "Refused today (UTC)",
    tone: "bad",
    count: (today) => today.refused,
    wide: [1114, 190],
    tall: [285, 448],
  },
  {
    id: "ended",
    kind: "end",
    name: "– Ended early",
    about: "Cancelled or expired today (UTC)",
    count: (today) => today.cancelled + today.expired,
    wide: [1114, 246],
    tall: [285, 538],
  },
  {
    id: "table",
    kind: "store",
    name: "OrderTable",
    sub: "its stream",
    about: "Every order as it stands; its stream has each change.",
    wide: [95, 410],
    tall: [95, 650],
  },
  {
    id: "publisher",
    kind: "step",
    name: "Publish changes",
    sub: "change_publisher",
    queue: "change_publisher",
    about: "Makes an event of each change of an order.",
    wide: [285, 410],
    tall: [285, 650],
  },
  {
    id: "events",
    kind: "topic",
    name: "OrderEventTopic",
    sub: "events",
    queue: "order_event_topic",
    about: "Events of orders, for all subscribers.",
    wide: [495, 410],
    tall: [95, 750],
  },
  {
    id: "dispatch",
    kind: "step",
    name: "Webhooks",
    sub: "webhook_dispatcher",
    queue: "webhook_dispatcher",
    about: "Finds the webhooks that want an event.",
    wide: [705, 328],
    tall: [95, 850],
  },
  {
    id: "socket",
    kind: "step",
    name: "WebSocket",
    sub: "socket_pusher",
    queue: "socket_pusher",
    about: "Pushes events to pages like this one.",
    wide: [705, 410],
    tall: [285, 850],
  },
  {
    id: "report",
    kind: "step",
    name: "Reports",
    sub: "report_projector",
    queue: "report",
    about: "Counts what happened, day by day.",
    wide: [705, 492],
    tall: [285, 942],
  },
  {
    id: "sender",
    kind: "step",
    name: "Send",
    sub: "webhook_sender",
    queue: "webhook_sender",
    about: "Sends events to customers' addresses, and tries again.",
    wide: [905, 328],
    tall: [95, 942],
  },
  {
    id: "slow",
    kind: "step",
    name: "Send, slow lane",
    sub: "webhook_sender",
    queue: "webhook_slow",
    about: "The same for receivers that are slow or fail.",
    wide: [905, 410],
    tall: [95, 1034],
  },
  {
    id: "watch",
    kind: "step",
    name: "Watchdog",
    sub: "order_watchdog",
    queue: "order_watch",
    about: "Checks each order again later, and retries what is stuck.",
    wide: [285, 265],
    tall: [285, 750],
  },
  {
    id: "ledgers",
    kind: "store",
    name: "Ledgers",
    sub: "their streams",
    about: "AccountTable and StockTable: every balance, and what was done to it.",
    wide: [905, 492],
    tall: [285, 1034],
  },
  {
    id: "ledger",
    kind: "step",
    name: "Account and stock",
    sub: "ledger_publisher",
    queue: "ledger_publisher",
    about: "Publishes how accounts and stock stand.",
    wide: [1106, 410],
    tall: [95, 1140],
  },
  {
    id: "history",
    kind: "step",
    name: "History",
    sub: "history_projector",
    queue: "history_projector",
    about: "Keeps what was done to accounts and stock.",
    wide: [1106, 492],
    tall: [285, 1140],
  },
];

type Side = "left" | "right" | "top" | "bottom";
export interface Edge {
  id: string;
  from: string;
  to: string;
  kind: "way" | "news" | "watch";
  wide: [Side, Side];
  /** Nothing where there is no room for it. */
  tall: [Side, Side] | undefined;
}

const edge = (
  from: string,
  to: string,
  kind: Edge["kind"],
  wide: [Side, Side],
  tall?: [Side, Side],
): Edge => ({ id: `${from}-${to}`, from, to, kind, wide, tall });

export const EDGES: Edge[] = [
  edge("api", "topic", "way", ["right", "left"], ["bottom", "top"]),
  edge("topic", "balance", "way", ["right", "left"], ["bottom", "top"]),
  edge("topic", "stock", "way", ["right", "left"], ["bottom", "top"]),
  edge("balance", "decide", "way", ["right", "left"], ["bottom", "top"]),
  edge("stock", "decide", "way", ["right", "left"], ["bottom", "top"]),
  edge("decide", "ship", "way", ["right", "left"], ["bottom", "top"]),
  edge("ship", "shipped", "way", ["right", "left"], ["bottom", "top"]),
  edge("decide", "refused", "way", ["bottom", "left"], ["bottom", "top"]),
  edge("decide", "ended", "way", ["bottom", "left"], ["bottom", "left"]),
  edge("api", "table", "news", ["bottom", "top"], ["left", "top"]),
  edge("table", "publisher", "news", ["right", "left"], ["right", "left"]),
  edge("publisher", "events", "news", ["right", "left"], ["bottom", "top"]),
  edge("events", "dispatch", "news", ["right", "left"], ["bottom", "top"]),
  edge("events", "socket", "news", ["right", "left"], ["right", "top"]),
  edge("events", "report", "news", ["right", "left"], ["right", "left"]),
  edge("dispatch", "sender", "news", ["right", "left"], ["bottom", "top"]),
  edge("dispatch", "slow", "news", ["right", "left"]),
  edge("ledgers", "ledger", "news", ["right", "left"], ["left", "top"]),
  edge("ledgers", "history", "news", ["right", "left"], ["bottom", "top"]),
  edge("publisher", "watch", "watch", ["top", "bottom"], ["bottom", "top"]),
  edge("watch", "topic", "watch", ["top", "bottom"]),
];

export function placeOf(node: Node, layout: Layout): Place {
  const [x, y] = node[layout];
  const [w, h] = BOX[layout][node.kind];
  return { x, y, w, h };
}

const BY_ID = new Map(NODES.map((node) => [node.id, node]));
const OUT: Record<Side, [number, number]> = { left: [-1, 0], right: [1, 0], top: [0, -1], bottom: [0, 1] };

/** A curve that leaves one side and comes in at another; nothing where it is not drawn. */
export function edgePath({ from, to, ...edge }: Edge, layout: Layout): string | undefined {
  const sides = edge[layout];
  if (!sides) return undefined;
  const [out, into] = sides;
  const start = sideOf(from, out, layout);
  const end = sideOf(to, into, layout);
  const across = reach(end.x - start.x);
  const down = reach(end.y - start.y);
  const bend = ({ x, y }: { x: number; y: number }, side: Side) =>
    `${x + OUT[side][0] * across} ${y + OUT[side][1] * down}`;
  return `M${start.x} ${start.y}C${bend(start, out)} ${bend(end, into)} ${end.x} ${end.y}`;
}

const reach = (distance: number): number => Math.max(18, Math.min(90, Math.abs(distance) / 2));

function sideOf(id: string, side: Side, layout: Layout): { x: number; y: number } {
  const node = BY_ID.get(id);
  if (!node) throw new Error(`the map has no ${id}`);
  const { x, y, w, h } = placeOf(node, layout);
  return { x: x + (OUT[side][0] * w) / 2, y: y + (OUT[side][1] * h) / 2 };
}
