// Requests to the API: answers, next pages, and problems as errors.

import { signal } from "@preact/signals";
import { nextLink } from "./link.ts";
import type { FieldError, ProblemBody } from "./types.ts";

/** Where the API is: the page is at its address, with /console behind it. */
export const BASE = location.pathname.replace(/\/console\/?$/, "");

export const configAddress = `${BASE}/console/config.json`;

/** Anything but success. `kind` is the last part of the problem's type, or "unreachable". */
export class ApiError extends Error {
  override name = "ApiError";
  readonly kind: string;
  readonly title: string;
  readonly status: number;
  readonly errors: FieldError[];
  readonly moreErrors: number;
  readonly requestId: string | undefined;
  readonly retryAfter: number | undefined;

  constructor(problem: ProblemBody, status: number, retryAfter?: number) {
    super(problem.detail ?? problem.title);
    this.kind = problem.type.split(":").pop() ?? "";
    this.title = problem.title;
    this.status = status;
    this.errors = problem.errors ?? [];
    this.moreErrors = problem.moreErrors ?? 0;
    this.requestId = problem.requestId;
    this.retryAfter = retryAfter;
  }
}

export const unreachable = (): ApiError =>
  new ApiError({ type: "unreachable", title: "No connection", detail: "The API can't be reached." }, 0);

export interface Answer<T> {
  body: T;
  /** The address of the next page, for `get`. */
  next: string | undefined;
  /** When it was answered, by the API's own clock, to the second. */
  time: number;
}

/** Since when the API has not been reached, and when it is tried next; nothing while it is there. */
export const outage = signal<{ retryAt: number } | undefined>(undefined);

/** Counts up whenever lists should be read again, because something may have been missed. */
export const epoch = signal(0);
export const readAgain = (): void => {
  epoch.value = epoch.peek() + 1;
};

interface Credentials {
  token: () => string;
  /** Whether there is a new token now. */
  renew: () => Promise<boolean>;
  expired: () => void;
}
let credentials: Credentials = { token: () => "", renew: async () => false, expired: () => {} };
export const useCredentials = (given: Credentials): void => {
  credentials = given;
};

/** A path of the API, with a query in which empty values are left out. */
export function address(path: string[], query: Record<string, string | number | undefined> = {}): string {
  const named = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [[name, String(value)]],
  );
  return `${BASE}/${path.map(encodeURIComponent).join("/")}${named.length ? `?${new URLSearchParams(named)}` : ""}`;
}

export const get = <T>(url: string, signal?: AbortSignal): Promise<Answer<T>> =>
  request<T>("GET", url, { signal });

/** Sends something that has an effect: the key makes a repetition safe. */
export const send = <T>(
  method: "POST" | "DELETE",
  url: string,
  body: unknown,
  key: string,
): Promise<Answer<T>> => request<T>(method, url, { body, key });

export const newKey = (): string => crypto.randomUUID();

async function request<T>(
  method: string,
  url: string,
  options: { body?: unknown; key?: string; signal?: AbortSignal | undefined },
): Promise<Answer<T>> {
  let response = await attempt(method, url, options);
  if (response.status === 401 && (await credentials.renew())) response = await attempt(method, url, options);
  if (response.status === 401) credentials.expired();
  if (!response.ok) throw await errorOf(response);
  return {
    body: bodyOf(await response.text(), response.status),
    next: nextPage(response),
    time: timeOf(response),
  };
}

/** What stands before the API may answer for it, with a page of its own. */
function bodyOf<T>(text: string, status: number): T {
  try {
    return (text ? JSON.parse(text) : undefined) as T;
  } catch {
    const detail = "What answered was not the API: its answer is no JSON.";
    throw new ApiError({ type: "unexpected-answer", title: "Unexpected answer", detail }, status);
  }
}

async function attempt(
  method: string,
  url: string,
  { body, key, signal }: { body?: unknown; key?: string; signal?: AbortSignal | undefined },
): Promise<Response> {
  const headers: Record<string, string> = { Authorization: `Bearer ${credentials.token()}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  try {
    return await fetch(url, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    lost();
    throw unreachable();
  }
}

/** Reads the problem; what stands before the API may answer in other words. */
export async function errorOf(response: Response): Promise<ApiError> {
  const seconds = Number(response.headers.get("Retry-After"));
  const retryAfter = seconds > 0 ? seconds : undefined;
  try {
    const body = (await response.json()) as Partial<ProblemBody> & { message?: string };
    if (typeof body.type === "string" && typeof body.title === "string") {
      return new ApiError(body as ProblemBody, response.status, retryAfter);
    }
    if (typeof body.message === "string") {
      const problem = { type: "request-refused", title: `HTTP ${response.status}`, detail: body.message };
      return new ApiError(problem, response.status, retryAfter);
    }
  } catch {
    // No JSON: the status has to do.
  }
  const problem = { type: "request-refused", title: `HTTP ${response.status}`, detail: response.statusText };
  return new ApiError(problem, response.status, retryAfter);
}

const timeOf = (response: Response): number => Date.parse(response.headers.get("Date") ?? "") || Date.now();
const nextPage = (response: Response): string | undefined =>
  nextLink(response.headers.get("Link"), response.url);

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;

/** Finds out whether the API is there, for who lost it in another way. */
export async function checkApi(): Promise<void> {
  try {
    await fetch(configAddress, { cache: "no-store" });
  } catch {
    lost();
  }
}

/** From now on look whether the API is back, less and less often; then everything is read again. */
function lost(): void {
  if (outage.peek()) return;
  let pause = FIRST_PAUSE;
  const wait = () => {
    outage.value = { retryAt: Date.now() + pause };
    setTimeout(look, pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  };
  const look = async () => {
    try {
      await fetch(configAddress, { cache: "no-store" });
    } catch {
      wait();
      return;
    }
    outage.value = undefined;
    readAgain();
  };
  wait();
}
