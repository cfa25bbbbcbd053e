// How screens read and send: what they show while they wait, and when it fails.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, epoch, get, newKey } from "./api.ts";

export interface Read<T> {
  data: T | undefined;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/** Reads an address: when it changes, when something may have been missed, and every so often if asked to. */
export function useRead<T>(url: string | undefined, every = 0): Read<T> {
  const [state, setState] = useState<{
    url?: string | undefined;
    data?: T;
    error?: unknown;
    loading: boolean;
  }>({
    loading: true,
  });
  const [asked, setAsked] = useState(0);
  const reload = useCallback(() => setAsked((count) => count + 1), []);
  useEffect(() => {
    if (url === undefined) return setState({ loading: false });
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const read = async () => {
      if (!document.hidden || timer === undefined) {
        try {
          const { body } = await get<T>(url, abort.signal);
          setState({ url, data: body, loading: false });
        } catch (error) {
          if (abort.signal.aborted) return;
          // What was read before stays in sight.
          setState((before) => ({ ...(before.url === url ? before : { url }), error, loading: false }));
        }
      }
      if (every && !abort.signal.aborted) timer = setTimeout(read, every);
    };
    setState((before) => (before.url === url ? { ...before, loading: true } : { url, loading: true }));
    void read();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [url, every, asked, epoch.value]);
  const current = state.url === url ? state : { loading: true };
  return { data: current.data, error: current.error, loading: current.loading, reload };
}

export interface Pages<T> {
  rows: T[];
  loading: boolean;
  error: unknown;
  /** Whether there is a next page. */
  more: boolean;
  loadMore: () => void;
  reload: () => void;
  change: (rows: (before: T[]) => T[]) => void;
}

const MOST_PAGES_AGAIN = 5;

/** Reads a list page by page, by `Link`; after an interruption, as many pages again as were there, up to five. */
export function usePages<B, T>(first: string | undefined, rowsOf: (body: B) => T[]): Pages<T> {
  const [rows, setRows] = useState<T[]>([]);
  const [next, setNext] = useState<string | undefined>(undefined);
  const [loading, setLoading] = useState(first !== undefined);
  const [error, setError] = useState<unknown>(undefined);
  const [asked, setAsked] = useState(0);
  const reading = useRef<AbortController | undefined>(undefined);
  const pages = useRef({ first, count: 1 });

  const read = useCallback(async (from: string, count: number, before: T[]) => {
    reading.current?.abort();
    const abort = new AbortController();
    reading.current = abort;
    setLoading(true);
    setError(undefined);
    try {
      let url: string | undefined = from;
      let all = before;
      for (let page = 0; page < count && url !== undefined; page += 1) {
        const answer: { body: B; next: string | undefined } = await get<B>(url, abort.signal);
        all = [...all, ...rowsOf(answer.body)];
        url = answer.next;
      }
      setRows(all);
      setNext(url);
    } catch (failure) {
      if (abort.signal.aborted) return;
      setError(failure);
    }
    setLoading(false);
  }, []);

  useEffect(() => {
    if (pages.current.first !== first) {
      pages.current = { first, count: 1 };
      setRows([]);
      setNext(undefined);
    }
    if (first === undefined) return setLoading(false);
    void read(first, Math.min(pages.current.count, MOST_PAGES_AGAIN), []);
    return () => reading.current?.abort();
  }, [first, asked, epoch.value]);

  return {
    rows,
    loading,
    error,
    more: next !== undefined,
    loadMore: () => {
      if (next === undefined) return;
      pages.current.count += 1;
      void read(next, 1, rows);
    },
    reload: useCallback(() => setAsked((count) => count + 1), []),
    change: setRows,
  };
}

export interface Action<A extends unknown[]> {
  run: (...args: A) => Promise<boolean>;
  busy: boolean;
  error: unknown;
  clear: () => void;
}

/** Does something that has an effect. Repeated after a failure, it has the same key, and so the effect only once. */
export function useAction<A extends unknown[]>(
  action: (key: string, ...args: A) => Promise<unknown>,
): Action<A> {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const attempt = useRef<{ key: string; of: string } | undefined>(undefined);
  const run = async (...args: A): Promise<boolean> => {
    const of = JSON.stringify(args);
    if (attempt.current?.of !== of) attempt.current = { key: newKey(), of };
    setBusy(true);
    setError(undefined);
    try {
      await action(attempt.current.key, ...args);
      attempt.current = undefined;
      return true;
    } catch (failure) {
      setError(failure);
      // A refused request does not use up its key, but the next attempt may differ: it gets a new key.
      if (
        failure instanceof ApiError &&
        failure.status >= 400 &&
        failure.status < 500 &&
        failure.kind !== "request-running"
      ) {
        attempt.current = undefined;
      }
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { run, busy, error, clear: () => setError(undefined) };
}

/** The time, again and again. */
export function useNow(every: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setNow(Date.now());
    }, every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** Whether a media query holds. */
export function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const read = () => setHolds(list.matches);
    read();
    list.addEventListener("change", read);
    return () => list.removeEventListener("change", read);
  }, [query]);
  return holds;
}
