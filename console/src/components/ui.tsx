// The small things that every screen is made of.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { ApiError } from "../api.ts";
import { clock, day, isOpen, reasonWords, refusal, shortId, statusWords } from "../format.ts";
import { href } from "../router.ts";
import type { Order } from "../types.ts";

const ICONS: Record<string, string> = {
  PENDING: "◔",
  CONFIRMED: "◑",
  SHIPPED: "✓",
  REJECTED: "✕",
  CANCELLED: "–",
  EXPIRED: "⌛︎",
  DELIVERED: "✓",
  FAILED: "✕",
  ACTIVE: "✓",
  DISABLED: "✕",
  HELD: "✓",
  DECLINED: "✕",
};
const TONES: Record<string, string> = {
  PENDING: "wait",
  CONFIRMED: "info",
  SHIPPED: "good",
  REJECTED: "bad",
  DELIVERED: "good",
  FAILED: "bad",
  ACTIVE: "good",
  DISABLED: "bad",
  HELD: "good",
  DECLINED: "bad",
};

/** A status: its sign, its word and its colour. */
export function Badge({ of, words }: { of: string; words?: string }) {
  return (
    <span class={`badge ${TONES[of] ?? "plain"}`}>
      <span aria-hidden="true">{ICONS[of] ?? "•"}</span> {words ?? statusWords(of)}
    </span>
  );
}

export function OrderStatus({ order }: { order: Order }) {
  const code = refusal(order);
  return (
    <>
      <Badge of={order.status} />
      {code && <span class="why">{reasonWords(code)}</span>}
    </>
  );
}

export function Time({ iso, date = false }: { iso: string; date?: boolean }) {
  return (
    <time dateTime={iso} title={iso} class="time">
      {date && <span class="date">{day(iso)} </span>}
      {clock(iso)}
    </time>
  );
}

export function OrderLink({ id, whole = false }: { id: string; whole?: boolean }) {
  return (
    <a class="id" href={href(["orders", id])} title={id}>
      {whole ? id : shortId(id)}
    </a>
  );
}

export function Copy({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      announce(`${what} copied`);
      setTimeout(() => setDone(false), 1500);
    } catch {
      announce(`${what} could not be copied: select it instead`);
    }
  };
  return (
    <button type="button" class="quiet small" onClick={copy} aria-label={`Copy ${what}`}>
      {done ? "Copied" : "Copy"}
    </button>
  );
}

const HINTS: Record<string, string> = {
  forbidden: "You are signed in, but not for this.",
  unauthenticated: "Sign in again.",
  "request-running": "The first try is still running. Try again in a moment.",
  unavailable: "Sent again, it has its effect only once.",
  "internal-error": "If it stays, ask for help with the request id.",
  "no-answer-in-time": "Sent again, it has its effect only once.",
  "too-many-requests": "Wait a moment, then try again.",
};

/** What went wrong, next to what caused it. */
export function Failure({ error, retry }: { error: unknown; retry?: (() => void) | undefined }) {
  if (!error) return null;
  const problem = error instanceof ApiError ? error : undefined;
  const hint = problem && HINTS[problem.kind];
  // What is wrong with the fields, the list below says better.
  const words = problem?.errors.length ? "" : error instanceof Error ? error.message : String(error);
  return (
    <div class="failure" role="alert">
      <p>
        <strong>{problem?.title ?? "Something went wrong in this page"}</strong> {words} {hint}
        {problem?.retryAfter && ` (after ${problem.retryAfter} s)`}
      </p>
      {problem && problem.errors.length > 0 && (
        <ul>
          {problem.errors.map((each) => (
            <li key={`${each.field} ${each.message}`}>
              <code>{each.field}</code> {each.message}
            </li>
          ))}
          {problem.moreErrors > 0 && <li>and {problem.moreErrors} more</li>}
        </ul>
      )}
      <p class="foot">
        {retry && (
          <button type="button" class="small" onClick={retry}>
            Try again
          </button>
        )}
        {problem?.requestId && <small>Request id {problem.requestId}</small>}
      </p>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children && <p>{children}</p>}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      Reading {what}…
    </p>
  );
}

/** A button that announces its busy state. */
export function Button({
  busy = false,
  tone,
  children,
  ...rest
}: { busy?: boolean; tone?: "primary" | "danger" } & JSX.IntrinsicElements["button"]) {
  return (
    <button
      type="button"
      {...rest}
      class={`${tone ?? ""} ${rest.class ?? ""}`}
      disabled={busy || rest.disabled}
      aria-busy={busy}
    >
      {children}
      {busy && <span class="dots" aria-hidden="true" />}
    </button>
  );
}

/** A labelled field, with what the API says is wrong with it. */
export function Field({
  label,
  hint,
  error,
  name,
  children,
}: {
  label: string;
  hint?: string;
  error?: unknown;
  /** The field's name in the API's problems. */
  name?: string;
  children: (id: string, described: string | undefined) => ComponentChildren;
}) {
  const id = useId();
  const wrong =
    error instanceof ApiError && name
      ? error.errors.filter((each) => each.field === name || each.field.endsWith(`.${name}`))
      : [];
  const described = hint || wrong.length ? `${id}-description` : undefined;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id, described)}
      {described && (
        <small id={described}>
          {wrong.length > 0 && <span class="wrong">{wrong.map((each) => each.message).join("; ")} </span>}
          {hint}
        </small>
      )}
    </div>
  );
}

/** A dialog above the page. It closes by Escape too; the focus then goes back to where it was. */
export function Dialog({
  title,
  onClose,
  children,
  wide = false,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    ref.current?.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      class={wide ? "wide" : ""}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" class="quiet" onClick={onClose} aria-label="Close">
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** Asks before something is done, and says what it will do. */
export function Confirm({
  title,
  yes,
  danger = false,
  busy,
  error,
  onYes,
  onClose,
  children,
}: {
  title: string;
  yes: string;
  danger?: boolean;
  busy: boolean;
  error: unknown;
  onYes: () => void;
  onClose: () => void;
  children: ComponentChildren;
}) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <Failure error={error} />
      <div class="actions">
        <Button onClick={onClose}>Not now</Button>
        <Button tone={danger ? "danger" : "primary"} busy={busy} onClick={onYes}>
          {yes}
        </Button>
      </div>
    </Dialog>
  );
}

/** A table that scrolls by itself where it is too wide. */
export function Table({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: no fieldset, but something that the keyboard can scroll
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the same
    <div class="scroll" role="group" aria-label={label} tabIndex={0}>
      <table>{children}</table>
    </div>
  );
}

export function LoadMore({
  pages,
  what,
}: {
  pages: { more: boolean; loading: boolean; loadMore: () => void; rows: unknown[] };
  what: string;
}) {
  if (!pages.rows.length && !pages.more) return null;
  return (
    <p class="more">
      {pages.more ? (
        <Button busy={pages.loading} onClick={pages.loadMore}>
          Load more {what}
        </Button>
      ) : (
        <small>These are all {what}.</small>
      )}
    </p>
  );
}

/** Whether this order can still be cancelled. */
export const canCancel = (order: Order): boolean => isOpen(order.status);
