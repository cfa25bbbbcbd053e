// The map of the system, with orders on their way.

import { useEffect, useMemo, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { address } from "../api.ts";
import { Chart, type Line } from "../components/Chart.tsx";
import { PipelineMap } from "../components/Map.tsx";
import { NewOrderForm } from "../components/NewOrder.tsx";
import { Button, Dialog, Empty, Failure, OrderLink, Table, Time } from "../components/ui.tsx";
import { type DemoKind, type Run, run, startDemo } from "../demo.ts";
import { duration, eventWords, reasonWords, seconds, whole } from "../format.ts";
import { useNow, useRead } from "../hooks.ts";
import { feed, rates, today } from "../pulse.ts";
import { href } from "../router.ts";
import type { Outcome, Today } from "../stats.ts";
import type { OrderEvent, Queues } from "../types.ts";

export function PipelineScreen({ operator, local }: { operator: boolean; local: boolean }) {
  const queues = useRead<Queues>(
    operator ? address(["operations", "queues"]) : undefined,
    local ? 2000 : 10_000,
  );
  const [ordering, setOrdering] = useState(false);
  const busy = run.value !== undefined && !run.value.done;
  const demo = (kind: DemoKind) => void startDemo(kind);
  return (
    <>
      <div class="title">
        <h1 tabIndex={-1}>{operator ? "Pipeline" : "Your orders, live"}</h1>
        <div class="actions">
          {operator && (
            <>
              <Button tone="primary" disabled={busy} onClick={() => demo("one")}>
                Place a demo order
              </Button>
              <Button disabled={busy} onClick={() => demo("batch")}>
                Batch of 20
              </Button>
              <Button disabled={busy} onClick={() => demo("flash")}>
                Flash sale: 100 for 10
              </Button>
            </>
          )}
          <Button tone={operator ? undefined : "primary"} onClick={() => setOrdering(true)}>
            New order…
          </Button>
        </div>
      </div>
      {ordering && (
        <Dialog title="New order" onClose={() => setOrdering(false)}>
          <NewOrderForm onClose={() => setOrdering(false)} />
        </Dialog>
      )}
      {run.value && <Progress run={run.value} />}
      <Tiles today={today.value} operator={operator} />
      {operator && (
        <section class="card" aria-label="Map of the system, with what waits where">
          <Failure error={queues.error} retry={queues.reload} />
          <PipelineMap queues={queues.data?.queues} today={today.value} />
          {queues.data && <QueueTable queues={queues.data} />}
        </section>
      )}
      <div class="columns">
        <Speed />
        <Feed events={feed.value} operator={operator} />
      </div>
    </>
  );
}

function Tiles({ today, operator }: { today: Today; operator: boolean }) {
  const ended = today.shipped + today.refused + today.cancelled + today.expired;
  const reasons = Object.entries(today.reasons).sort((a, b) => b[1] - a[1]);
  const tiles: [string, number, string, string][] = [
    ["Placed", today.placed, "plain", ""],
    ["Under way", Math.max(0, today.placed - ended), "wait", ""],
    ["Shipped", today.shipped, "good", "SHIPPED"],
    ["Refused", today.refused, "bad", "REJECTED"],
    ["Cancelled", today.cancelled, "plain", "CANCELLED"],
    ["Expired", today.expired, "plain", "EXPIRED"],
  ];
  return (
    <section aria-label={operator ? "Orders today" : "Your orders since this page was opened"}>
      <ul class="tiles">
        {tiles.map(([name, count, tone, status]) => (
          <li key={name} class={tone}>
            <a href={href(["orders"], { status })}>
              <span class="number">{whole(count)}</span>
              <span class="label">{name}</span>
            </a>
          </li>
        ))}
      </ul>
      <p class="under">
        <small>
          {operator ? "Today (UTC)" : "Since this page was opened"}
          {reasons.length > 0 &&
            `. Refused: ${reasons.map(([code, n]) => `${whole(n)} ${reasonWords(code)}`).join(", ")}`}
          .
        </small>
      </p>
    </section>
  );
}

/** What became of some orders, in words. */
export function outcomeWords({ shipped, refused, ended, open, reasons }: Outcome): string {
  const why = Object.entries(reasons).map(([code, count]) =>
    count === refused ? code : `${whole(count)} ${code}`,
  );
  return [
    `${whole(shipped)} shipped`,
    refused && `${whole(refused)} refused: ${why.join(", ")}`,
    ended && `${whole(ended)} cancelled or expired`,
    open && `${whole(open)} under way`,
  ]
    .filter(Boolean)
    .join(", ");
}

function Progress({ run: { name, step, outcome, orderIds, done, error } }: { run: Run }) {
  const words = outcome.total ? outcomeWords(outcome) : step;
  useEffect(() => announce(`${name}: ${words}`), [name, words]);
  const { total, shipped, refused, ended } = outcome;
  const share = (count: number) => ({ width: `${total ? (count / total) * 100 : 0}%` });
  return (
    <section class={`card progress ${done ? "done" : ""}`} aria-label={name}>
      <div class="title">
        <h2>{name}</h2>
        <span class="note" data-testid="outcome">
          {error ? "It stopped" : words}
        </span>
        {done && (
          <button
            type="button"
            class="quiet small"
            aria-label="Dismiss"
            onClick={() => {
              run.value = undefined;
            }}
          >
            ✕
          </button>
        )}
      </div>
      {!error && (
        <div
          class="bar"
          role="progressbar"
          aria-label={name}
          aria-valuemin={0}
          aria-valuemax={total || 1}
          aria-valuenow={shipped + refused + ended}
        >
          <span class="good" style={share(shipped)} />
          <span class="bad" style={share(refused)} />
          <span class="plain" style={share(ended)} />
          {!total && <span class="waiting" />}
        </div>
      )}
      <Failure error={error} />
      {orderIds.length > 0 && (
        <p class="under">
          <small>
            {orderIds.slice(0, 3).map((id) => (
              <span key={id}>
                <OrderLink id={id} />{" "}
              </span>
            ))}
            {orderIds.length > 3 && <a href="#/orders">and {orderIds.length - 3} more among the orders</a>}
          </small>
        </p>
      )}
    </section>
  );
}

function QueueTable({ queues }: { queues: Queues }) {
  return (
    <details>
      <summary>The same as a table</summary>
      <Table label="Queues">
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col" class="num">
              Waiting
            </th>
            <th scope="col" class="num">
              In flight
            </th>
            <th scope="col" class="num">
              Later
            </th>
            <th scope="col" class="num">
              Oldest
            </th>
            <th scope="col" class="num">
              Dead letters
            </th>
          </tr>
        </thead>
        <tbody>
          {queues.queues.map((queue) => (
            <tr key={queue.name}>
              <th scope="row">
                {queue.name} {queue.kind !== "queue" && <small>{queue.kind}</small>}
              </th>
              <td class="num">{queue.waiting ?? "–"}</td>
              <td class="num">{queue.inFlight ?? "–"}</td>
              <td class="num">{queue.delayed ?? "–"}</td>
              <td class="num">{queue.oldestSeconds === undefined ? "–" : seconds(queue.oldestSeconds)}</td>
              <td class="num">
                {queue.deadLetters ? (
                  <a class="alarming" href={href(["dead-letters", queue.name])}>
                    {whole(queue.deadLetters)}
                  </a>
                ) : (
                  0
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </details>
  );
}

const LINES: Line[] = [
  { label: "orders/s", colour: "--accent-soft", counts: true, kind: "bars", value: (value) => whole(value) },
  { label: "p50 to decided", colour: "--good", scale: "s", value: (value) => `${whole(value)} s` },
  {
    label: "p95 to decided",
    colour: "--warn",
    scale: "s",
    dash: [5, 4],
    value: (value) => `${whole(value)} s`,
  },
];

function Speed() {
  const now = useNow(1000);
  const data = useMemo(() => rates.series(now), [now]);
  const p50 = rates.took(0.5, now);
  const p95 = rates.took(0.95, now);
  const took = (ms: number | undefined) => (ms === undefined ? "–" : duration(ms));
  return (
    <section class="card" aria-labelledby="speed">
      <div class="title">
        <h2 id="speed">From placed to decided</h2>
        <span class="note">
          {p50 === undefined
            ? "nothing within the last minute"
            : `half within ${took(p50)}, 95 % within ${took(p95)}`}
        </span>
      </div>
      <Chart
        summary={`Orders a second over two minutes, now ${rates.rate(now)}; half are decided within ${took(p50)}, 95 percent within ${took(p95)}`}
        data={data}
        lines={LINES}
        height={230}
      />
    </section>
  );
}

const SIGNS: Record<string, string> = {
  "order.placed": "plain",
  "order.confirmed": "info",
  "order.shipped": "good",
  "order.rejected": "bad",
};

function Feed({ events, operator }: { events: OrderEvent[]; operator: boolean }) {
  return (
    <section class="card" aria-labelledby="feed">
      <div class="title">
        <h2 id="feed">What happens</h2>
        <span class="note">the last 30 events</span>
      </div>
      {events.length === 0 ? (
        <Empty title="Nothing yet.">
          {operator
            ? "Place a demo order, and watch it go through."
            : "Place an order, and watch it go through."}
        </Empty>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard
        <ol class="feed" tabIndex={0} aria-labelledby="feed">
          {events.map((event) => (
            <li key={event.id}>
              <Time iso={event.time} />
              <span class={`what ${SIGNS[event.type] ?? "plain"}`}>{eventWords(event.type)}</span>
              <span class="about">
                <OrderLink id={event.subject} /> of {event.data.customerId}
                {event.reason && <span class="why">{reasonWords(event.reason)}</span>}
              </span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
