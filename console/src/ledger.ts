// Stock and accounts are the same thing, a ledger of holds: what differs is named here.

import { amount, whole } from "./format.ts";
import type { Balance } from "./types.ts";

export type LedgerKind = "stock" | "accounts";
export type Entity = Balance & { productId?: string; customerId?: string };

export interface Ledger {
  path: "stock" | "account";
  field: "productId" | "customerId";
  rows: "products" | "accounts";
  one: string;
  many: string;
  balance: string;
  held: string;
  settled: string;
  figure: (value: number) => string;
  step: string;
}

export const LEDGERS: Record<LedgerKind, Ledger> = {
  stock: {
    path: "stock",
    field: "productId",
    rows: "products",
    one: "product",
    many: "products",
    balance: "to sell",
    held: "held",
    settled: "shipped",
    figure: whole,
    step: "1",
  },
  accounts: {
    path: "account",
    field: "customerId",
    rows: "accounts",
    one: "account",
    many: "accounts",
    balance: "to spend",
    held: "held",
    settled: "spent",
    figure: amount,
    step: "0.01",
  },
};
