// The events of all orders, or of one customer's own, as they happen: one WebSocket connection for the whole page.

import { signal } from "@preact/signals";
import { checkApi, readAgain } from "./api.ts";
import { accessToken, onRenewed, ownCustomer } from "./session.ts";
import type { Order, OrderEvent } from "./types.ts";

export type Connection =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "reconnecting"; retryAt: number; why: string }
  | { state: "offline"; retryAt: number; why: string };

export const connection = signal<Connection>({ state: "connecting" });

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 20_000;
const OFFLINE_AFTER = 5; // failures in a row
const ANSWER_WITHIN = 10_000;
// API Gateway ends a connection after ten minutes without a message. Asking for the same once more is one, and its
// answer shows that the connection still works.
const ASK_EVERY = 4 * 60_000;
const GATHER = 80; // milliseconds of events that are shown together

let socketUrl = "";
let socket: WebSocket | undefined;
let failures = 0;
let everLive = false;
let lastEventAt = 0;
let asking: ReturnType<typeof setInterval> | undefined;
let deadline: ReturnType<typeof setTimeout> | undefined;
let retry: ReturnType<typeof setTimeout> | undefined;

export function startLive(url: string): void {
  socketUrl = url;
  connect();
  // Who was authorized is decided as a connection is opened, so a new token gets a new one.
  onRenewed(connect);
  addEventListener("online", connect);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !socketUrl) return;
    if (connection.peek().state !== "live") connect();
    else if (Date.now() - lastEventAt > 30_000) ask();
  });
}

export function stopLive(): void {
  socketUrl = "";
  close();
  connection.value = { state: "connecting" };
}

function close(): void {
  const old = socket;
  socket = undefined;
  clearInterval(asking);
  clearTimeout(deadline);
  clearTimeout(retry);
  old?.close();
}

export function connect(): void {
  if (!socketUrl) return;
  close();
  const opened = new WebSocket(socketUrl, ["order-capture", accessToken()]);
  socket = opened;
  waitForAnswer();
  opened.onopen = ask;
  opened.onmessage = (message) => {
    if (socket === opened) received(String(message.data));
  };
  opened.onclose = () => {
    if (socket === opened) lost("The connection for live events ended.");
  };
}

function ask(): void {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const own = ownCustomer();
  socket.send(JSON.stringify({ action: "subscribe", ...(own ? { customerId: own } : { all: true }) }));
  waitForAnswer();
}

function waitForAnswer(): void {
  clearTimeout(deadline);
  deadline = setTimeout(() => lost("Live events: no answer in time."), ANSWER_WITHIN);
}

function lost(why: string): void {
  close();
  failures += 1;
  const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
  const retryAt = Date.now() + pause;
  const offline = failures > OFFLINE_AFTER || !navigator.onLine;
  connection.value = { state: offline ? "offline" : "reconnecting", retryAt, why };
  retry = setTimeout(connect, pause);
  void checkApi();
}

interface Reply {
  specversion?: string;
  subscribed?: object;
  problem?: { detail?: string; title?: string };
}

function received(text: string): void {
  lastEventAt = Date.now();
  let message: Reply;
  try {
    message = JSON.parse(text) as Reply;
  } catch {
    return;
  }
  if (message.specversion) {
    gather(message as OrderEvent);
    return;
  }
  if (message.problem) {
    lost(message.problem.detail ?? message.problem.title ?? "Live events were refused.");
    return;
  }
  if (!message.subscribed) return;
  clearTimeout(deadline);
  failures = 0;
  if (connection.peek().state === "live") return;
  connection.value = { state: "live" };
  clearInterval(asking);
  asking = setInterval(ask, ASK_EVERY);
  // What happened while there was no connection has to be read.
  if (everLive) readAgain();
  everLive = true;
}

// --- Events: each once, and of each order the latest state ---------------------------------------------------------

type Listener = (events: OrderEvent[]) => void;
const listeners = new Set<Listener>();
const KEPT = 3000;
const seen = new Set<string>();
const latest = new Map<string, OrderEvent>();
let gathered: OrderEvent[] = [];

/** Subscribe to events, which come some at a time. Call what it returns to unsubscribe. */
export function onEvents(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The order as the latest event had it, if there was one lately. */
export const latestOrder = (orderId: string): Order | undefined => latest.get(orderId)?.data;

function gather(event: OrderEvent): void {
  if (seen.has(event.id)) return;
  seen.add(event.id);
  forgetOldest(seen);
  const known = latest.get(event.subject);
  if (!known || Number(event.sequence) > Number(known.sequence)) {
    latest.delete(event.subject);
    latest.set(event.subject, event);
    forgetOldest(latest);
  }
  if (gathered.push(event) === 1) setTimeout(deliver, GATHER);
}

function forgetOldest(kept: Set<string> | Map<string, unknown>): void {
  if (kept.size > KEPT) kept.delete(kept.keys().next().value as string);
}

function deliver(): void {
  const events = gathered;
  gathered = [];
  for (const listener of [...listeners]) listener(events);
}
