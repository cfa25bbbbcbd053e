// Who looks: signed in by the key that `make run` prints, or by the user pool. Tokens are in memory only.

import { signal } from "@preact/signals";
import { errorOf, useCredentials } from "./api.ts";
import type { Config } from "./types.ts";

export type Session =
  | { state: "starting" }
  | { state: "waiting"; why: string }
  | { state: "signed-out"; why?: string }
  | { state: "signed-in"; user: string; operator: boolean; byKey: boolean };

export const session = signal<Session>({ state: "starting" });

/** The customer whose orders alone are shown; nothing for an operator. */
export const ownCustomer = (): string | undefined => {
  const current = session.value;
  return current.state === "signed-in" && !current.operator ? current.user : undefined;
};

interface Tokens {
  access_token: string;
  refresh_token?: string;
  expires_in: number;
}

const KEY = "console.key"; // the local engine's, for this tab
const REDIRECT = "console.redirect"; // verifier and state, while the sign-in page is shown
const AGAIN = "console.again"; // signed in by the pool before: a reload need not ask
const RENEW_BEFORE = 120_000;
const RETRY = 2000;

let config: Config;
let tokens: Tokens | undefined;
let renewal: Promise<boolean> | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
let renewed: () => void = () => {};

export const accessToken = (): string => tokens?.access_token ?? "";
export const onRenewed = (listener: () => void): void => {
  renewed = listener;
};

/** Takes the local engine's key out of the address, so that it is neither seen nor bookmarked. */
export function takeKey(): boolean {
  const key = /^#key=(.+)$/.exec(location.hash)?.[1];
  if (!key) return false;
  sessionStorage.setItem(KEY, decodeURIComponent(key));
  history.replaceState(null, "", `${location.pathname}#/`);
  dispatchEvent(new HashChangeEvent("hashchange")); // which a replaced address does not cause by itself
  return true;
}

export async function startSession(given: Config): Promise<void> {
  config = given;
  useCredentials({
    token: accessToken,
    renew,
    expired: () => signedOut("Your sign-in has ended. Sign in again to go on."),
  });
  const answer = new URLSearchParams(location.search);
  if (answer.has("code") || answer.has("error")) return finishSignIn(answer);
  if (config.local && sessionStorage.getItem(KEY)) return signInByKey();
  if (sessionStorage.getItem(AGAIN)) return signIn();
  session.value = { state: "signed-out" };
}

export async function signInByKey(): Promise<void> {
  const response = await askByKey().catch(() => undefined);
  if (response?.ok) return signedIn((await response.json()) as Tokens, true);
  if (response?.status === 403) {
    sessionStorage.removeItem(KEY);
    return signedOut(
      "The key in this address belongs to an earlier engine. Open the address that `make run` printed last.",
    );
  }
  const why = response ? (await errorOf(response)).message : "The engine can't be reached.";
  session.value = { state: "waiting", why };
  setTimeout(signInByKey, RETRY);
}

const askByKey = (): Promise<Response> =>
  fetch("/_console/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ key: sessionStorage.getItem(KEY) }),
  });

const pageAddress = (): string => location.origin + location.pathname;

/** To the pool's sign-in page, and back to what is shown now. */
export async function signIn(): Promise<void> {
  const verifier = random();
  const state = random();
  sessionStorage.setItem(REDIRECT, JSON.stringify({ verifier, state, hash: location.hash }));
  sessionStorage.removeItem(AGAIN);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: config.signIn.clientId,
    redirect_uri: pageAddress(),
    scope: config.scopes,
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${config.signIn.authorizeUrl}?${query}`);
}

async function finishSignIn(answer: URLSearchParams): Promise<void> {
  const kept = JSON.parse(sessionStorage.getItem(REDIRECT) ?? "{}") as Record<string, string | undefined>;
  sessionStorage.removeItem(REDIRECT);
  history.replaceState(null, "", location.pathname + (kept.hash ?? ""));
  dispatchEvent(new HashChangeEvent("hashchange"));
  const code = answer.get("code");
  if (!code)
    return signedOut(answer.get("error_description") ?? answer.get("error") ?? "You are not signed in.");
  if (!kept.verifier || !kept.state || answer.get("state") !== kept.state) {
    return signedOut("This answer of the sign-in page was not asked for here. Sign in again.");
  }
  const given = await tokensFor({
    grant_type: "authorization_code",
    code,
    redirect_uri: pageAddress(),
    code_verifier: kept.verifier,
  });
  if (!given) return signedOut("The sign-in page's answer was not accepted. Sign in again.");
  sessionStorage.setItem(AGAIN, "yes");
  signedIn(given, false);
}

async function tokensFor(grant: Record<string, string>): Promise<Tokens | undefined> {
  try {
    const body = new URLSearchParams({ ...grant, client_id: config.signIn.clientId });
    const response = await fetch(config.signIn.tokenUrl, { method: "POST", body });
    return response.ok ? ((await response.json()) as Tokens) : undefined;
  } catch {
    return undefined;
  }
}

/** A new token before or after the old one has expired; whoever asks meanwhile waits for the same. */
function renew(): Promise<boolean> {
  renewal ??= newTokens().finally(() => {
    renewal = undefined;
  });
  return renewal;
}

async function newTokens(): Promise<boolean> {
  const current = session.peek();
  const byKey = current.state === "signed-in" && current.byKey;
  let given: Tokens | undefined;
  if (byKey) {
    const response = await askByKey().catch(() => undefined);
    given = response?.ok ? ((await response.json()) as Tokens) : undefined;
  } else if (tokens?.refresh_token) {
    given = await tokensFor({ grant_type: "refresh_token", refresh_token: tokens.refresh_token });
  }
  if (!given) return false;
  signedIn({ ...tokens, ...given }, byKey);
  renewed();
  return true;
}

function signedIn(given: Tokens, byKey: boolean): void {
  tokens = given;
  const claims = claimsOf(given.access_token);
  const groups = Array.isArray(claims["cognito:groups"]) ? claims["cognito:groups"] : [];
  const user = String(claims.username ?? claims.sub ?? "");
  const current = session.peek();
  // The same person with a new token is no news to the page.
  if (current.state !== "signed-in" || current.user !== user) {
    session.value = { state: "signed-in", user, operator: groups.includes("operators"), byKey };
  }
  clearTimeout(timer);
  timer = setTimeout(renew, Math.max(30_000, given.expires_in * 1000 - RENEW_BEFORE));
}

function signedOut(why: string): void {
  tokens = undefined;
  clearTimeout(timer);
  session.value = { state: "signed-out", why };
}

export function signOut(): void {
  const current = session.peek();
  const byKey = current.state === "signed-in" && current.byKey;
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(AGAIN);
  signedOut("You have signed out.");
  if (byKey) return;
  const query = new URLSearchParams({ client_id: config.signIn.clientId, logout_uri: pageAddress() });
  location.assign(`${config.signIn.logoutUrl}?${query}`);
}

/** What a token says; that it is true, the API checks. */
export function claimsOf(token: string): Record<string, unknown> {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

const random = (): string => base64url(crypto.getRandomValues(new Uint8Array(32)));
const base64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
