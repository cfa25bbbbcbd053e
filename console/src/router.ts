// The address says what is shown, filters included: `#/orders?status=REJECTED`, `#/orders/<id>`.

import { computed, signal } from "@preact/signals";

export interface Route {
  path: string[];
  query: Record<string, string>;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return {
    path: path.split("/").filter(Boolean).map(decoded),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** Someone may have typed a lone %. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(path: string[], query: Record<string, string | undefined> = {}): string {
  const named = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const search = named.length ? `?${new URLSearchParams(named)}` : "";
  return `#/${path.map(encodeURIComponent).join("/")}${search}`;
}

const hash = signal("");
export const route = computed(() => parseRoute(hash.value));

export function startRouter(): void {
  const read = () => {
    hash.value = location.hash;
  };
  addEventListener("hashchange", read);
  read();
}

export function go(path: string[], query?: Record<string, string | undefined>): void {
  location.hash = href(path, query);
}

/** Filters change the address, but not the way back. */
export function setQuery(query: Record<string, string | undefined>): void {
  history.replaceState(null, "", href(route.value.path, { ...route.value.query, ...query }));
  hash.value = location.hash;
}
