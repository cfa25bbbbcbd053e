// How things are written for people. Pure: no clock, no page.

import type { Check, Order, Status } from "./types.ts";

const AMOUNT = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const amount = (value: number): string => AMOUNT.format(value);
export const whole = (value: number): string => WHOLE.format(value);
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${whole(count)} ${count === 1 ? one : many}`;

/** A sum of decimals without the noise of binary fractions. */
export const cents = (value: number): number => Math.round(value * 100) / 100;

export function duration(milliseconds: number): string {
  const ms = Math.max(0, Math.round(milliseconds));
  if (ms < 1000) return `${ms} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const seconds = (value: number): string => duration(value * 1000);

const pad = (value: number, digits = 2): string => String(value).padStart(digits, "0");

/** The time of day where the reader is: with milliseconds, since much happens within a second. */
export function clock(iso: string, milliseconds = true): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return milliseconds ? `${time}.${pad(at.getMilliseconds(), 3)}` : time;
}

export function day(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

/** What `<input type="datetime-local">` shows for a moment. */
export function inputTime(iso: string): string {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? "" : `${day(iso)}T${clock(iso)}`;
}

/** The moment that such an input means, in UTC; nothing if it means none. */
export function fromInputTime(text: string): string | undefined {
  const at = new Date(text);
  return text === "" || Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

export const utcDay = (at: Date): string => at.toISOString().slice(0, 10);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-/;

/** Enough of an id to recognise it by. */
export const shortId = (id: string): string =>
  UUID.test(id) ? id.slice(0, 8) : id.length > 18 ? `${id.slice(0, 16)}…` : id;

const STATUS_WORDS: Record<Status, string> = {
  PENDING: "Being checked",
  CONFIRMED: "Confirmed",
  SHIPPED: "Shipped",
  REJECTED: "Refused",
  CANCELLED: "Cancelled",
  EXPIRED: "Expired",
};
export const statusWords = (status: string): string => STATUS_WORDS[status as Status] ?? status;

const REASONS: Record<string, string> = {
  INSUFFICIENT_BALANCE: "not enough money",
  INSUFFICIENT_STOCK: "not enough in stock",
  UNKNOWN_CUSTOMER: "unknown customer",
  UNKNOWN_PRODUCT: "unknown product",
  PRICE_MISMATCH: "another price",
  ORDER_CLOSED: "the order was over already",
  PUBLISH_FAILED: "it could not be published",
};
export const REASON_CODES = Object.keys(REASONS).filter((code) => code !== "PUBLISH_FAILED");

/** A reason in words; one that is not known yet is readable as well. */
export const reasonWords = (code: string): string => REASONS[code] ?? code.toLowerCase().replaceAll("_", " ");

export const isOpen = (status: string): boolean => status === "PENDING" || status === "CONFIRMED";

/** The code of the check that refused an order. */
export function refusal(order: Pick<Order, "status" | "checks">): string | undefined {
  if (order.status !== "REJECTED") return undefined;
  const { balance, stock } = order.checks;
  return [balance, stock].find((check) => check?.outcome === "DECLINED")?.code ?? undefined;
}

/** What a check found, with its figures. */
export function checkWords(kind: "balance" | "stock", check: Check): string {
  const figure = (value: number) => (kind === "balance" ? amount(value) : plural(value, "unit"));
  const about = check.id ?? (kind === "stock" ? "several products" : "the customer");
  if (check.outcome === "HELD") return `${figure(check.asked)} of ${about} reserved for this order`;
  switch (check.code) {
    case "INSUFFICIENT_BALANCE":
    case "INSUFFICIENT_STOCK":
      return `${about}: asked for ${figure(check.asked)}, there was ${figure(check.available ?? 0)}`;
    case "UNKNOWN_CUSTOMER":
      return `There is no account of ${about}`;
    case "UNKNOWN_PRODUCT":
      return `There is no product ${about}`;
    case "PRICE_MISMATCH": {
      const named = check.unitPrice == null ? "names no price" : `says ${amount(check.unitPrice)}`;
      return `${about} costs ${amount(check.price ?? 0)} a unit, the order ${named}`;
    }
    default:
      return check.code ? `Declined: ${reasonWords(check.code)}` : "Declined";
  }
}

const EVENT_WORDS: Record<string, string> = {
  "order.placed": "placed",
  "order.confirmed": "confirmed",
  "order.rejected": "refused",
  "order.shipped": "shipped",
  "order.cancelled": "cancelled",
  "order.expired": "expired",
};
export const eventWords = (type: string): string => EVENT_WORDS[type] ?? type;

/** A line of an order's log: its moment, and the words after it. */
export function logLine(line: string): { time: string; words: string } {
  const space = line.indexOf(" ");
  return space < 0 ? { time: "", words: line } : { time: line.slice(0, space), words: line.slice(space + 1) };
}

/** JSON for reading; anything else as it is. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
