// The frame around the screens: start, sign-in, navigation, and the messages that every screen shows.

import { Component, type ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { announced } from "./announce.ts";
import { configAddress, outage } from "./api.ts";
import { Dialog } from "./components/ui.tsx";
import { seconds } from "./format.ts";
import { useNow } from "./hooks.ts";
import { connect, connection, startLive, stopLive } from "./live.ts";
import { startPulse } from "./pulse.ts";
import { href, route } from "./router.ts";
import { DeadLettersScreen } from "./screens/dead-letters.tsx";
import { LedgerScreen } from "./screens/ledger.tsx";
import { LedgersScreen } from "./screens/ledgers.tsx";
import { OrderScreen } from "./screens/order.tsx";
import { OrdersScreen } from "./screens/orders.tsx";
import { PipelineScreen } from "./screens/pipeline.tsx";
import { ReportsScreen } from "./screens/reports.tsx";
import { WebhooksScreen } from "./screens/webhooks.tsx";
import { session, signIn, signInByKey, signOut, startSession, takeKey } from "./session.ts";
import { nextTheme, theme } from "./theme.ts";
import type { Config } from "./types.ts";

interface Entry {
  path: string;
  name: string;
  icon: string;
  operators: boolean;
}
const ENTRIES: Entry[] = [
  { path: "", name: "Pipeline", icon: "M3 12h5l4-6h4m-4 12-4-6m4 6h4m0-12 4 6-4 6", operators: false },
  { path: "orders", name: "Orders", icon: "M5 4h14v16l-3-2-4 2-4-2-3 2zM9 9h6M9 13h6", operators: false },
  {
    path: "stock",
    name: "Stock and accounts",
    icon: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
    operators: true,
  },
  { path: "dead-letters", name: "Dead letters", icon: "M4 6h16v12H4zM4 7l8 6 8-6M9 21h6", operators: true },
  { path: "reports", name: "Reports", icon: "M5 20V10M12 20V4M19 20v-7M3 20h18", operators: true },
  { path: "webhooks", name: "Webhooks", icon: "M12 4v6m0 0-5 8m5-8 5 8M7 18h10", operators: false },
];

export function App() {
  const [config, setConfig] = useState<Config>();
  const [problem, setProblem] = useState<{ words: string; retryAt: number }>();
  useEffect(() => {
    let pause = 1000;
    const read = async () => {
      try {
        const response = await fetch(configAddress, { cache: "no-store" });
        if (!response.ok) throw new Error(`${configAddress} answers ${response.status}.`);
        const given = (await response.json()) as Config;
        setProblem(undefined);
        setConfig(given);
        await startSession(given);
      } catch (error) {
        const words = error instanceof TypeError ? "The API can't be reached." : (error as Error).message;
        setProblem({ words, retryAt: Date.now() + pause });
        setTimeout(read, pause);
        pause = Math.min(15_000, pause * 2);
      }
    };
    void read();
    const key = () => {
      if (takeKey()) void signInByKey();
    };
    addEventListener("hashchange", key);
    return () => removeEventListener("hashchange", key);
  }, []);

  if (problem) return <Away words={problem.words} retryAt={problem.retryAt} />;
  const current = session.value;
  if (!config || current.state === "starting") return <Splash words="Starting…" />;
  if (current.state === "waiting") return <Splash words={`${current.why} Trying again…`} />;
  if (current.state === "signed-out") return <SignIn config={config} why={current.why} />;
  return <Frame key={current.user} config={config} />;
}

function Splash({ words, children }: { words: string; children?: ComponentChildren }) {
  return (
    <main class="splash">
      <Logo />
      <h1>Order capture</h1>
      <p role="status">{words}</p>
      {children}
    </main>
  );
}

function Away({ words, retryAt }: { words: string; retryAt: number }) {
  const now = useNow(500);
  return (
    <Splash words={`${words} Trying again in ${seconds(Math.max(0, Math.ceil((retryAt - now) / 1000)))}.`}>
      <p>
        On your own machine, <code>make run</code> starts the system. Elsewhere, see whether you are online.
      </p>
    </Splash>
  );
}

function SignIn({ config, why }: { config: Config; why: string | undefined }) {
  return (
    <Splash words={why ?? "Sign in to watch orders flow."}>
      <p>
        <button type="button" class="primary" onClick={() => void signIn()}>
          Sign in
        </button>
      </p>
      {config.local && (
        <p>
          Or open the address that <code>make run</code> printed: it signs you in as an operator, without a
          password.
        </p>
      )}
    </Splash>
  );
}

function Frame({ config }: { config: Config }) {
  const current = session.value;
  const operator = current.state === "signed-in" && current.operator;
  const user = current.state === "signed-in" ? current.user : "";
  const [screen = ""] = route.value.path;
  const main = useRef<HTMLElement>(null);
  const [menu, setMenu] = useState(false);
  const first = useRef(true);
  const where = route.value.path.join("/");

  useEffect(() => {
    startLive(config.socketUrl);
    const stopPulse = startPulse(operator);
    return () => {
      stopPulse();
      stopLive();
    };
  }, [config, operator]);

  // After a link is followed, the new screen starts at its top.
  useEffect(() => {
    setMenu(false);
    const heading = main.current?.querySelector("h1");
    document.title = `${heading?.textContent ?? "Console"} · Order capture`;
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    heading?.focus({ preventScroll: true });
  }, [where]);

  const entries = ENTRIES.filter((entry) => operator || !entry.operators);
  const entry = ENTRIES.find(({ path }) => path === (screen === "accounts" ? "stock" : screen));
  return (
    <>
      {/* biome-ignore lint/a11y/useValidAnchor: the address says which screen is shown, so it must not change */}
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#/" aria-label="Order capture: pipeline">
          <Logo /> <span>Order capture</span>
        </a>
        <span class="stack" title="The stack">
          {config.stack}
          {config.local && <small> on this machine</small>}
        </span>
        <Live />
        <button
          type="button"
          class="quiet"
          onClick={nextTheme}
          aria-label={`Theme: ${theme.value}. Change it.`}
        >
          {{ system: "◐", light: "☀︎", dark: "☾" }[theme.value]}
          <span class="wide-only"> {theme.value}</span>
        </button>
        <span class="who wide-only">
          {user}
          {user !== "operator" && <small>{operator ? "operator" : "customer"}</small>}
        </span>
        <button type="button" class="quiet wide-only" onClick={signOut}>
          Sign out
        </button>
        <button
          type="button"
          class="quiet menu-button"
          aria-haspopup="dialog"
          aria-label="Menu"
          onClick={() => setMenu(true)}
        >
          ☰ <span>Menu</span>
        </button>
      </header>
      <div class="body">
        <nav class="side" aria-label="Screens">
          <Links entries={entries} screen={screen} />
        </nav>
        <main id="main" ref={main} tabIndex={-1}>
          <Outage local={config.local} />
          <Boundary key={where}>
            {!entry ? (
              <NotHere title="There is no such page" />
            ) : entry.operators && !operator ? (
              <NotHere title={`${entry.name} are for operators`}>
                You are signed in as a customer, who sees their own orders and webhooks. Operators are the
                group “operators” of the user pool.
              </NotHere>
            ) : (
              <Screen path={route.value.path} operator={operator} config={config} />
            )}
          </Boundary>
        </main>
      </div>
      {menu && (
        <Dialog title="Menu" onClose={() => setMenu(false)}>
          <nav aria-label="All screens" class="all">
            <Links entries={entries} screen={screen} close={() => setMenu(false)} />
          </nav>
          <p class="foot">
            <small>
              Signed in as {user} ({operator ? "operator" : "customer"})
            </small>
            <button type="button" onClick={signOut}>
              Sign out
            </button>
          </p>
        </Dialog>
      )}
      <p class="sr" role="status" aria-live="polite">
        {announced.value}
      </p>
    </>
  );
}

function Links({ entries, screen, close }: { entries: Entry[]; screen: string; close?: () => void }) {
  const shown = screen === "accounts" ? "stock" : screen;
  return (
    <ul>
      {entries.map(({ path, name, icon }) => (
        <li key={path}>
          <a
            href={href(path ? [path] : [])}
            aria-current={path === shown ? "page" : undefined}
            onClick={close}
          >
            <svg viewBox="0 0 24 24" aria-hidden="true">
              <path d={icon} />
            </svg>
            <span>{name}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function Screen({ path, operator, config }: { path: string[]; operator: boolean; config: Config }) {
  const [screen, id] = path;
  switch (screen) {
    case "orders":
      return id ? <OrderScreen id={id} /> : <OrdersScreen operator={operator} />;
    case "stock":
    case "accounts":
      return id ? <LedgerScreen kind={screen} id={id} /> : <LedgersScreen kind={screen} />;
    case "dead-letters":
      return <DeadLettersScreen queue={id} local={config.local} />;
    case "reports":
      return <ReportsScreen />;
    case "webhooks":
      return <WebhooksScreen webhookId={id} />;
    default:
      return <PipelineScreen operator={operator} local={config.local} />;
  }
}

function NotHere({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <>
      <h1 tabIndex={-1}>{title}</h1>
      <p>{children}</p>
      <p>
        <a href="#/">To the pipeline</a>
      </p>
    </>
  );
}

/** Whether events come, in words. */
function Live() {
  const now = useNow(1000);
  const current = connection.value;
  const wait = "retryAt" in current ? Math.max(0, Math.ceil((current.retryAt - now) / 1000)) : 0;
  const words = {
    connecting: "connecting",
    live: "live",
    reconnecting: "reconnecting",
    offline: "offline",
  }[current.state];
  return (
    <span class={`live ${current.state}`} role="status">
      <span class="sign" aria-hidden="true" />
      {words}
      {current.state !== "live" && "why" in current && (
        <button
          type="button"
          class="quiet small"
          onClick={connect}
          title={`${current.why} Next try in ${wait} s.`}
        >
          try now
        </button>
      )}
    </span>
  );
}

function Outage({ local }: { local: boolean }) {
  const now = useNow(500);
  const current = outage.value;
  if (!current) return null;
  const wait = Math.max(0, Math.ceil((current.retryAt - now) / 1000));
  return (
    <div class="banner" role="alert">
      <strong>The API can't be reached.</strong> What you see may be old.{" "}
      <span aria-live="off">{wait ? `Trying again in ${wait} s.` : "Trying again…"}</span>{" "}
      {local ? (
        <>
          If the system is stopped, start it with <code>make run</code>.
        </>
      ) : (
        "See whether you are online."
      )}
    </div>
  );
}

/** A fault in this page ends one screen, not the page. */
class Boundary extends Component<{ children: ComponentChildren }, { error?: unknown }> {
  override state: { error?: unknown } = {};
  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render() {
    if (!this.state.error) return this.props.children;
    const { error } = this.state;
    return (
      <div role="alert">
        <h1 tabIndex={-1}>This screen has a fault</h1>
        <p>The system itself is not affected. Go on with another screen, or read the page again.</p>
        <p>
          <button type="button" class="primary" onClick={() => location.reload()}>
            Read the page again
          </button>
        </p>
        <details>
          <summary>What it says</summary>
          <pre>{error instanceof Error ? error.message : String(error)}</pre>
        </details>
      </div>
    );
  }
}

const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="7" />
    <path d="M6 16h5l4-6.5h4M11 16l4 6.5h4M19 9.5 23 16l-4 6.5M23 16h3" />
  </svg>
);
