// A customer's webhooks: where events are sent, how that goes, and the secrets they are signed with.

import { useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { address, send } from "../api.ts";
import {
  Badge,
  Button,
  Confirm,
  Copy,
  Dialog,
  Empty,
  Failure,
  Field,
  Loading,
  LoadMore,
  OrderLink,
  Time,
} from "../components/ui.tsx";
import { eventWords } from "../format.ts";
import { useAction, usePages, useRead } from "../hooks.ts";
import { go, href, route, setQuery } from "../router.ts";
import { ownCustomer } from "../session.ts";
import type { Delivery, Webhook } from "../types.ts";
import { DeliveryLine } from "./order.tsx";

const EVENT_TYPES = [
  "order.placed",
  "order.confirmed",
  "order.rejected",
  "order.shipped",
  "order.cancelled",
  "order.expired",
];

export function WebhooksScreen({ webhookId }: { webhookId: string | undefined }) {
  return webhookId ? <OneWebhook id={webhookId} /> : <AllWebhooks />;
}

/** A webhook's id holds its customer's; the callbacks of a customer's orders have 32 zeros. */
const customerOf = (webhookId: string): string => webhookId.slice(0, webhookId.lastIndexOf("."));
const isCallbacks = (webhookId: string): boolean => /\.0{32}$/.test(webhookId);
const nameOf = (webhook: Webhook): string =>
  isCallbacks(webhook.webhookId) ? "Callbacks of orders" : webhook.url;

function AllWebhooks() {
  const own = ownCustomer();
  const customerId = own ?? route.value.query.customerId;
  const [typed, setTyped] = useState(customerId ?? "");
  const [adding, setAdding] = useState(false);
  const list = useRead<{ webhooks: Webhook[] }>(
    customerId ? address(["webhooks"], { customerId }) : undefined,
  );
  const webhooks = list.data?.webhooks ?? [];
  return (
    <>
      <div class="title">
        <h1 tabIndex={-1}>{own ? "Your webhooks" : "Webhooks"}</h1>
        {customerId && (
          <Button tone="primary" onClick={() => setAdding(true)}>
            New webhook…
          </Button>
        )}
      </div>
      {!own && (
        <form
          class="filters"
          onSubmit={(event) => {
            event.preventDefault();
            setQuery({ customerId: typed.trim() });
          }}
        >
          <Field label="Customer">
            {(id) => (
              <input
                id={id}
                type="search"
                required
                maxLength={64}
                value={typed}
                onInput={(event) => setTyped(event.currentTarget.value)}
              />
            )}
          </Field>
          <Button type="submit">Show</Button>
        </form>
      )}
      {adding && customerId && (
        <NewWebhook
          customerId={customerId}
          onClose={() => {
            setAdding(false);
            list.reload();
          }}
        />
      )}
      <Failure error={list.error} retry={list.reload} />
      {!customerId && <Empty title="Whose webhooks?">Each customer has their own: name one.</Empty>}
      {customerId && list.loading && !list.data && <Loading what="webhooks" />}
      {list.data && webhooks.length === 0 && (
        <Empty title={`${own ? "You have" : `${customerId} has`} no webhooks.`}>
          A webhook is an address that is sent each event of an order.
        </Empty>
      )}
      <ul class="cards">
        {webhooks.map((webhook) => (
          <li key={webhook.webhookId} class="card">
            <div class="title">
              <h2>
                <a href={href(["webhooks", webhook.webhookId])}>{nameOf(webhook)}</a>
              </h2>
              <Badge of={webhook.status} words={webhook.status === "ACTIVE" ? "Active" : "Disabled"} />
            </div>
            <Health webhookId={webhook.webhookId} />
            <p>
              <small>
                {webhook.eventTypes.length === EVENT_TYPES.length
                  ? "All events"
                  : webhook.eventTypes.map(eventWords).join(", ")}{" "}
                · since <Time iso={webhook.createTime} date />
              </small>
            </p>
          </li>
        ))}
      </ul>
    </>
  );
}

/** How the latest deliveries went. */
function Health({ webhookId }: { webhookId: string }) {
  const { data, error } = useRead<{ deliveries: Delivery[] }>(
    address(["webhooks", webhookId, "deliveries"], { limit: 20 }),
  );
  if (error) return <Failure error={error} />;
  if (!data) return <p class="health">…</p>;
  const { deliveries } = data;
  const count = (status: string) => deliveries.filter((delivery) => delivery.status === status).length;
  if (!deliveries.length) return <p class="health">Nothing was sent yet.</p>;
  const words = `Of the last ${deliveries.length}: ${count("DELIVERED")} delivered, ${count("PENDING")} on their way, ${count("FAILED")} given up`;
  return (
    <p class="health">
      <span class="ticks" aria-hidden="true">
        {deliveries.toReversed().map((delivery) => (
          <span key={delivery.deliveryId} class={delivery.status.toLowerCase()} />
        ))}
      </span>
      {words}
    </p>
  );
}

function OneWebhook({ id }: { id: string }) {
  const customerId = customerOf(id);
  const read = useRead<Webhook>(address(["webhooks", id]));
  const pages = usePages<{ deliveries: Delivery[] }, Delivery>(
    address(["webhooks", id, "deliveries"], { limit: 50 }),
    (body) => body.deliveries,
  );
  const [asking, setAsking] = useState<"rotate" | "delete" | undefined>(undefined);
  const [secret, setSecret] = useState<string | undefined>(undefined);
  const rotate = useAction(async (key: string) => {
    const { body } = await send<Webhook>("POST", address(["webhooks", id, "rotate-secret"]), undefined, key);
    setAsking(undefined);
    setSecret(body.secret);
  });
  const remove = useAction(async (key: string) => {
    await send("DELETE", address(["webhooks", id]), undefined, key);
    announce("The webhook is deleted");
    go(["webhooks"], { customerId: ownCustomer() ? undefined : customerId });
  });
  const webhook = read.data;
  return (
    <>
      <p class="crumbs">
        <a href={href(["webhooks"], { customerId: ownCustomer() ? undefined : customerId })}>
          Webhooks of {customerId}
        </a>
      </p>
      <div class="title">
        <h1 tabIndex={-1}>{webhook ? nameOf(webhook) : "Webhook"}</h1>
        {webhook && <Badge of={webhook.status} words={webhook.status === "ACTIVE" ? "Active" : "Disabled"} />}
        {webhook && (
          <div class="actions">
            <Button onClick={() => setAsking("rotate")}>Rotate secret…</Button>
            <Button tone="danger" onClick={() => setAsking("delete")}>
              Delete…
            </Button>
          </div>
        )}
      </div>
      <Failure error={read.error} retry={read.reload} />
      {webhook && (
        <p>
          <small>
            <span class="id">{id}</span> <Copy text={id} what="webhook id" /> ·{" "}
            {webhook.eventTypes.map(eventWords).join(", ")} · since <Time iso={webhook.createTime} date />
            {webhook.status === "DISABLED" && " · its receiver answered 410: register it again to send to it"}
          </small>
        </p>
      )}
      {asking === "rotate" && (
        <Confirm
          title="Rotate the secret?"
          yes="Rotate"
          busy={rotate.busy}
          error={rotate.error}
          onYes={() => void rotate.run()}
          onClose={() => setAsking(undefined)}
        >
          <p>
            Old secret → new secret. The old one signs along for 24 hours, so the receiver has that long to
            change.
          </p>
        </Confirm>
      )}
      {asking === "delete" && (
        <Confirm
          title="Delete this webhook?"
          yes="Delete"
          danger
          busy={remove.busy}
          error={remove.error}
          onYes={() => void remove.run()}
          onClose={() => setAsking(undefined)}
        >
          <p>Nothing more is sent to {webhook?.url || "the callbacks"}, not even what is on its way.</p>
        </Confirm>
      )}
      {secret && <Secret secret={secret} onClose={() => setSecret(undefined)} />}
      <section class="card" aria-labelledby="deliveries">
        <div class="title">
          <h2 id="deliveries">Deliveries</h2>
          <Button class="small" busy={pages.loading} onClick={pages.reload}>
            Read again
          </Button>
        </div>
        <Failure error={pages.error} retry={pages.reload} />
        {pages.rows.length === 0 && !pages.loading && !pages.error && (
          <Empty title="Nothing was sent yet.">The next event of an order of {customerId} is.</Empty>
        )}
        <ul class="deliveries">
          {pages.rows.map((delivery) => (
            <li key={delivery.deliveryId}>
              <p class="title">
                <code>{delivery.eventType}</code>
                <span>
                  order <OrderLink id={delivery.orderId} />
                </span>
                <Time iso={delivery.createTime} date />
              </p>
              <DeliveryLine
                delivery={delivery}
                to={delivery.url ?? webhook?.url ?? ""}
                again={pages.reload}
              />
            </li>
          ))}
        </ul>
        <LoadMore pages={pages} what="deliveries" />
      </section>
    </>
  );
}

function NewWebhook({ customerId, onClose }: { customerId: string; onClose: () => void }) {
  const [url, setUrl] = useState("");
  const [types, setTypes] = useState(EVENT_TYPES);
  const [made, setMade] = useState<Webhook | undefined>(undefined);
  const create = useAction(async (key: string, body: object) => {
    setMade((await send<Webhook>("POST", address(["webhooks"]), body, key)).body);
  });
  if (made?.secret) return <Secret secret={made.secret} onClose={onClose} />;
  return (
    <Dialog title={`New webhook of ${customerId}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void create.run({ customerId, url: url.trim(), eventTypes: types });
        }}
      >
        <Field
          label="Address"
          name="url"
          error={create.error}
          hint="https, of a public host; locally http://127.0.0.1 as well"
        >
          {(id, described) => (
            <input
              id={id}
              aria-describedby={described}
              type="url"
              required
              maxLength={512}
              value={url}
              placeholder="https://shop.example.com/hooks"
              onInput={(event) => setUrl(event.currentTarget.value)}
            />
          )}
        </Field>
        <fieldset>
          <legend>Events</legend>
          {EVENT_TYPES.map((type) => (
            <label key={type} class="tick">
              <input
                type="checkbox"
                checked={types.includes(type)}
                onChange={(event) =>
                  setTypes(
                    EVENT_TYPES.filter((each) =>
                      each === type ? event.currentTarget.checked : types.includes(each),
                    ),
                  )
                }
              />{" "}
              {eventWords(type)}
            </label>
          ))}
        </fieldset>
        <Failure error={create.error} />
        <div class="actions">
          <Button onClick={onClose}>Not now</Button>
          <Button type="submit" tone="primary" busy={create.busy} disabled={!types.length}>
            Register
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  return (
    <Dialog title="Its secret" onClose={onClose}>
      <p>
        It is shown this once. Keep it as you keep a password: with it, the receiver checks that what comes is
        from here.
      </p>
      <p class="secret">
        <code>{secret}</code> <Copy text={secret} what="secret" />
      </p>
      <div class="actions">
        <Button tone="primary" onClick={onClose}>
          I have it
        </Button>
      </div>
    </Dialog>
  );
}
