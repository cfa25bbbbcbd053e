// One order: how it went, why, and what was published and delivered about it.

import { useEffect, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { address, get, send } from "../api.ts";
import { Badge, Button, Confirm, Copy, canCancel, Failure, Loading, Table, Time } from "../components/ui.tsx";
import {
  amount,
  checkWords,
  duration,
  logLine,
  plural,
  reasonWords,
  refusal,
  statusWords,
  whole,
} from "../format.ts";
import { useAction, useRead } from "../hooks.ts";
import { onEvents } from "../live.ts";
import { href } from "../router.ts";
import { session } from "../session.ts";
import type { Check, Delivery, Order, OrderEvent, Webhook } from "../types.ts";

export function OrderScreen({ id }: { id: string }) {
  const read = useRead<Order>(address(["order", id]));
  const [live, setLive] = useState<OrderEvent[]>([]);
  useEffect(() => {
    setLive([]);
    return onEvents((events) => {
      const own = events.filter((event) => event.subject === id);
      if (!own.length) return;
      setLive((before) => [...before, ...own]);
      announce(`The order is ${statusWords(own.at(-1)?.data.status ?? "")}`);
    });
  }, [id]);
  const [cancelled, setCancelled] = useState<Order | undefined>(undefined);
  const order = [read.data, cancelled, ...live.map((event) => event.data)]
    .filter((each): each is Order => each?.orderId === id)
    .reduce<Order | undefined>((a, b) => (a && a.updateTime > b.updateTime ? a : b), undefined);

  return (
    <>
      <p class="crumbs">
        <a href="#/orders">Orders</a>
      </p>
      <div class="title">
        <h1 tabIndex={-1}>
          Order <span class="id">{id}</span>
        </h1>
        <Copy text={id} what="order id" />
        {order && canCancel(order) && <Cancel order={order} done={setCancelled} />}
      </div>
      <Failure error={read.error} retry={read.reload} />
      {!order && read.loading && <Loading what="the order" />}
      {order && <Details order={order} live={live} />}
    </>
  );
}

function Details({ order, live }: { order: Order; live: OrderEvent[] }) {
  const code = refusal(order);
  const current = session.value;
  const operator = current.state === "signed-in" && current.operator;
  const took = Date.parse(order.updateTime) - Date.parse(order.createTime);
  return (
    <>
      <section class="card head" aria-label="Summary">
        <dl class="facts">
          <div>
            <dt>Status</dt>
            <dd>
              <Badge of={order.status} />
              {code && <span class="why">{reasonWords(code)}</span>}
            </dd>
          </div>
          <div>
            <dt>Amount</dt>
            <dd class="big">{amount(order.totalAmount)}</dd>
          </div>
          <div>
            <dt>Customer</dt>
            <dd>
              {operator ? (
                <a href={href(["accounts", order.customerId])}>{order.customerId}</a>
              ) : (
                order.customerId
              )}
            </dd>
          </div>
          <div>
            <dt>Placed</dt>
            <dd>
              <Time iso={order.createTime} date />
            </dd>
          </div>
          <div>
            <dt>{canCancel(order) ? "So far" : "Took"}</dt>
            <dd>{duration(took)}</dd>
          </div>
          <div class="long">
            <dt>Correlation id</dt>
            <dd>
              <span class="id">{order.correlationId}</span>{" "}
              <Copy text={order.correlationId} what="correlation id" />
            </dd>
          </div>
        </dl>
      </section>
      <div class="columns">
        <Timeline logs={order.logs} />
        <section class="card" aria-labelledby="checks">
          <h2 id="checks">Checks</h2>
          <CheckCard kind="balance" check={order.checks.balance} status={order.status} />
          <CheckCard kind="stock" check={order.checks.stock} status={order.status} />
        </section>
      </div>
      <Deliveries order={order} live={live} />
      <Items order={order} operator={operator} />
    </>
  );
}

function Timeline({ logs }: { logs: string[] }) {
  const lines = logs.map(logLine);
  return (
    <section class="card" aria-labelledby="timeline">
      <h2 id="timeline">Timeline</h2>
      <ol class="timeline">
        {lines.map(({ time, words }, index) => {
          const before = lines[index - 1];
          const gap = before ? Date.parse(time) - Date.parse(before.time) : Number.NaN;
          return (
            <li key={index}>
              {!Number.isNaN(gap) && <span class="gap">{gap > 0 ? `+ ${duration(gap)}` : "at once"}</span>}
              <Time iso={time} />
              <span class="words">{words}</span>
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function CheckCard({
  kind,
  check,
  status,
}: {
  kind: "balance" | "stock";
  check: Check | null | undefined;
  status: string;
}) {
  const name = kind === "balance" ? "Balance" : "Stock";
  if (!check) {
    return (
      <div class="check">
        <h3>{name}</h3>
        <p>{status === "PENDING" ? "Not answered yet." : "Its answer was not needed any more."}</p>
      </div>
    );
  }
  return (
    <div class={`check ${check.outcome === "HELD" ? "good" : "bad"}`}>
      <h3>
        {name} <Badge of={check.outcome} words={check.outcome === "HELD" ? "Held" : "Declined"} />
      </h3>
      <p>{checkWords(kind, check)}.</p>
      {check.code && <code>{check.code}</code>}
    </div>
  );
}

function Items({ order, operator }: { order: Order; operator: boolean }) {
  const priced = order.items.some((item) => item.unitPrice !== undefined);
  return (
    <section class="card" aria-labelledby="items">
      <h2 id="items">{plural(order.items.length, "item")}</h2>
      <Table label="Items">
        <thead>
          <tr>
            <th scope="col">Product</th>
            <th scope="col" class="num">
              Quantity
            </th>
            {priced && (
              <>
                <th scope="col" class="num">
                  Price
                </th>
                <th scope="col" class="num">
                  Sum
                </th>
              </>
            )}
          </tr>
        </thead>
        <tbody>
          {order.items.map((item, index) => (
            <tr key={index}>
              <td>
                {operator ? <a href={href(["stock", item.productId])}>{item.productId}</a> : item.productId}
              </td>
              <td class="num">{whole(item.qty)}</td>
              {priced && (
                <>
                  <td class="num">{amount(item.unitPrice ?? 0)}</td>
                  <td class="num">{amount((item.unitPrice ?? 0) * item.qty)}</td>
                </>
              )}
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">Total</th>
            <td class="num">{whole(order.items.reduce((sum, item) => sum + item.qty, 0))}</td>
            {priced && (
              <>
                <td />
                <td class="num">{amount(order.totalAmount)}</td>
              </>
            )}
          </tr>
        </tfoot>
      </Table>
    </section>
  );
}

function Cancel({ order, done }: { order: Order; done: (order: Order) => void }) {
  const [asking, setAsking] = useState(false);
  const cancel = useAction(async (key: string) => {
    const { body } = await send<Order>("POST", address(["order", order.orderId, "cancel"]), undefined, key);
    done(body);
    setAsking(false);
    announce("The order is cancelled");
  });
  return (
    <>
      <Button tone="danger" onClick={() => setAsking(true)}>
        Cancel the order…
      </Button>
      {asking && (
        <Confirm
          title="Cancel this order?"
          yes="Cancel the order"
          danger
          busy={cancel.busy}
          error={cancel.error}
          onYes={() => void cancel.run()}
          onClose={() => setAsking(false)}
        >
          <p>
            {statusWords(order.status)} → Cancelled. What it holds of {order.customerId}'s balance (
            {amount(order.totalAmount)}) and of the stock is given free. It never ships, and this can't be
            taken back.
          </p>
        </Confirm>
      )}
    </>
  );
}

// --- Events and deliveries --------------------------------------------------------------------------------------------------

/** One event for each status that it came to. Both checks held means that it was confirmed, whatever followed. */
function publishedEvents(order: Order, live: OrderEvent[]): { type: string; time: string | undefined }[] {
  const confirmed =
    order.status === "CONFIRMED" ||
    (order.checks.balance?.outcome === "HELD" &&
      order.checks.stock?.outcome === "HELD" &&
      order.status !== "PENDING");
  const types = ["order.placed", ...(confirmed ? ["order.confirmed"] : [])];
  const last = {
    SHIPPED: "shipped",
    REJECTED: "rejected",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
  } as const;
  if (order.status in last) types.push(`order.${last[order.status as keyof typeof last]}`);
  const time = (type: string, index: number) =>
    live.find((event) => event.type === type)?.time ??
    (index === 0 ? order.createTime : index === types.length - 1 ? order.updateTime : undefined);
  return types.map((type, index) => ({ type, time: time(type, index) }));
}

interface Sent {
  webhooks: Webhook[];
  deliveries: Delivery[];
  /** Whether there may be more, further back than was looked. */
  partly: boolean;
}

const MOST_PAGES = 3;

/** The deliveries about one order, of all webhooks of its customer. They come latest first: beyond the order's own
 * time there is none. */
async function sentAbout(order: Order, signal: AbortSignal): Promise<Sent> {
  const url = address(["webhooks"], { customerId: order.customerId });
  const { webhooks } = (await get<{ webhooks: Webhook[] }>(url, signal)).body;
  let partly = false;
  const found = await Promise.all(
    webhooks.map(async ({ webhookId }) => {
      const own: Delivery[] = [];
      let next: string | undefined = address(["webhooks", webhookId, "deliveries"], { limit: 100 });
      for (let page = 0; page < MOST_PAGES && next !== undefined; page += 1) {
        const answer: { body: { deliveries: Delivery[] }; next: string | undefined } = await get(
          next,
          signal,
        );
        own.push(...answer.body.deliveries.filter((delivery) => delivery.orderId === order.orderId));
        const oldest = answer.body.deliveries.at(-1)?.createTime;
        next = oldest && oldest < order.createTime ? undefined : answer.next;
      }
      partly ||= next !== undefined;
      return own;
    }),
  );
  return { webhooks, deliveries: found.flat(), partly };
}

function Deliveries({ order, live }: { order: Order; live: OrderEvent[] }) {
  const [sent, setSent] = useState<Sent | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    const read = () =>
      sentAbout(order, abort.signal).then(setSent, (failure) => abort.signal.aborted || setError(failure));
    setError(undefined);
    void read();
    // They are sent a moment after.
    const later = setTimeout(read, 3000);
    return () => {
      abort.abort();
      clearTimeout(later);
    };
  }, [order.orderId, order.status, asked]);
  const addresses = new Map(sent?.webhooks.map((webhook) => [webhook.webhookId, webhook.url]));
  return (
    <section class="card" aria-labelledby="deliveries">
      <div class="title">
        <h2 id="deliveries">Events and deliveries</h2>
        <button type="button" class="quiet small" onClick={() => setAsked(asked + 1)}>
          Refresh
        </button>
      </div>
      <Failure error={error} />
      <ol class="events">
        {publishedEvents(order, live).map(({ type, time }) => {
          const deliveries = sent?.deliveries.filter((delivery) => delivery.eventType === type) ?? [];
          return (
            <li key={type}>
              <p>
                <code>{type}</code> {time && <Time iso={time} />}{" "}
                <small>published to subscribers and live pages</small>
              </p>
              {deliveries.map((delivery) => (
                <DeliveryLine
                  key={delivery.webhookId + delivery.deliveryId}
                  delivery={delivery}
                  to={delivery.url ?? addresses.get(delivery.webhookId) ?? ""}
                  again={() => setAsked(asked + 1)}
                />
              ))}
            </li>
          );
        })}
      </ol>
      {sent && sent.deliveries.length === 0 && (
        <p>
          <small>
            {sent.webhooks.length
              ? "No webhook was sent anything about it yet."
              : `${order.customerId} has no webhooks.`}{" "}
            <a href={href(["webhooks"], { customerId: order.customerId })}>Webhooks</a>
          </small>
        </p>
      )}
      {sent?.partly && (
        <p>
          <small>Only the last {MOST_PAGES * 100} deliveries of each webhook were looked at.</small>
        </p>
      )}
    </section>
  );
}

/** One delivery: where to, how it went, and sending it again. */
export function DeliveryLine({ delivery, to, again }: { delivery: Delivery; to: string; again: () => void }) {
  const replay = useAction(async (key: string) => {
    await send(
      "POST",
      address(["webhooks", delivery.webhookId, "deliveries", delivery.deliveryId, "replay"]),
      undefined,
      key,
    );
    announce("It is sent again");
    setTimeout(again, 1500);
  });
  return (
    <div class="delivery">
      <p>
        <Badge
          of={delivery.status}
          words={{ PENDING: "On its way", DELIVERED: "Delivered", FAILED: "Given up" }[delivery.status]}
        />{" "}
        <span class="to">{to || "callback"}</span>
        <Button class="small" busy={replay.busy} onClick={() => void replay.run()}>
          Replay
        </Button>
      </p>
      {delivery.attempts.length > 0 && (
        <ul class="attempts">
          {delivery.attempts.map(({ time, result }) => (
            <li key={time + result}>
              <Time iso={time} /> {result}
            </li>
          ))}
        </ul>
      )}
      {delivery.nextTime && (
        <small>
          Tried next at <Time iso={delivery.nextTime} />
        </small>
      )}
      <Failure error={replay.error} />
    </div>
  );
}
