// Orders, newest first; those that change or come in meanwhile by their events.

import { useEffect, useState } from "preact/hooks";
import { address } from "../api.ts";
import {
  Empty,
  Failure,
  Field,
  Loading,
  LoadMore,
  OrderLink,
  OrderStatus,
  Table,
  Time,
} from "../components/ui.tsx";
import {
  amount,
  fromInputTime,
  inputTime,
  plural,
  REASON_CODES,
  reasonWords,
  statusWords,
} from "../format.ts";
import { usePages } from "../hooks.ts";
import { onEvents } from "../live.ts";
import { href, route, setQuery } from "../router.ts";
import { merged } from "../stats.ts";
import { type Order, STATUSES } from "../types.ts";

const PAGE = 50;
const MOST_NEW = 300; // rows that come by themselves; beyond, they are counted

export function OrdersScreen({ operator }: { operator: boolean }) {
  const { query } = route.value;
  const filter = {
    customerId: operator ? query.customerId : undefined,
    status: query.status,
    reason: query.reason,
    from: query.from,
    to: query.to,
  };
  const pages = usePages<{ orders: Order[] }, Order>(
    address(["orders"], { ...filter, limit: PAGE }),
    // The API orders those of one second by their ids.
    (body) => body.orders.toSorted((one, other) => other.createTime.localeCompare(one.createTime)),
  );
  const [waiting, setWaiting] = useState(0);
  const shown = JSON.stringify(filter);
  const { change, rows, more } = pages;

  useEffect(() => {
    setWaiting(0);
    let added = 0;
    return onEvents((events) =>
      change((before) => {
        const known = new Set(before.map((order) => order.orderId));
        // If there are more pages, orders older than the last row are on a page that is not read yet.
        const last = more ? before.at(-1)?.createTime : undefined;
        const orders = events
          .map((event) => event.data)
          .filter(
            (order) => known.has(order.orderId) || (added < MOST_NEW && (!last || order.createTime >= last)),
          );
        const after = merged(before, orders, filter);
        added += Math.max(0, after.length - before.length);
        if (added >= MOST_NEW) {
          const newer = events.filter((event) => event.type === "order.placed").length;
          setWaiting((count) => count + newer);
        }
        return after;
      }),
    );
  }, [shown, more, change]);

  const any = Object.values(filter).some(Boolean);
  return (
    <>
      <h1 tabIndex={-1}>{operator ? "Orders" : "Your orders"}</h1>
      <Filters operator={operator} />
      <Failure error={pages.error} retry={pages.reload} />
      {waiting > 0 && (
        <p class="banner info">
          {plural(waiting, "newer order")} came in.{" "}
          <button
            type="button"
            class="small"
            onClick={() => {
              setWaiting(0);
              pages.reload();
            }}
          >
            Show the newest
          </button>
        </p>
      )}
      {rows.length > 0 ? (
        <Table label="Orders">
          <thead>
            <tr>
              <th scope="col">Placed</th>
              <th scope="col">Order</th>
              <th scope="col">Status</th>
              {operator && <th scope="col">Customer</th>}
              <th scope="col">Items</th>
              <th scope="col" class="num">
                Amount
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((order) => (
              <tr key={order.orderId}>
                <td>
                  <Time iso={order.createTime} date />
                </td>
                <td>
                  <OrderLink id={order.orderId} />
                </td>
                <td class="nowrap">
                  <OrderStatus order={order} />
                </td>
                {operator && (
                  <td>
                    <a href={href(["orders"], { customerId: order.customerId })} title="Only this customer's">
                      {order.customerId}
                    </a>
                  </td>
                )}
                <td class="clip">{itemsWords(order)}</td>
                <td class="num">{amount(order.totalAmount)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      ) : pages.loading ? (
        <Loading what="orders" />
      ) : (
        !pages.error && (
          <Empty title={any ? "No order matches this." : "No orders yet."}>
            {any ? (
              <button type="button" onClick={() => setQuery(NO_FILTER)}>
                Show all orders
              </button>
            ) : (
              <>
                Place one on the <a href="#/">pipeline</a> and it is here at once.
              </>
            )}
          </Empty>
        )
      )}
      <LoadMore pages={pages} what="orders" />
    </>
  );
}

const NO_FILTER = {
  customerId: undefined,
  status: undefined,
  reason: undefined,
  from: undefined,
  to: undefined,
};

function itemsWords({ items }: Order): string {
  const [first] = items;
  if (!first) return "";
  const others = items.length - 1;
  return `${first.qty} × ${first.productId}${others ? ` and ${plural(others, "more line")}` : ""}`;
}

function Filters({ operator }: { operator: boolean }) {
  const { query } = route.value;
  const [customer, setCustomer] = useState(query.customerId ?? "");
  useEffect(() => setCustomer(query.customerId ?? ""), [query.customerId]);
  return (
    <form
      class="filters"
      aria-label="Filters"
      onSubmit={(event) => {
        event.preventDefault();
        setQuery({ customerId: customer.trim() });
      }}
    >
      {operator && (
        <Field label="Customer">
          {(id) => (
            <input
              id={id}
              type="search"
              value={customer}
              maxLength={64}
              placeholder="All"
              onInput={(event) => setCustomer(event.currentTarget.value)}
              onChange={() => setQuery({ customerId: customer.trim() })}
            />
          )}
        </Field>
      )}
      <Field label="Status">
        {(id) => (
          <select
            id={id}
            value={query.status ?? ""}
            onChange={(event) => setQuery({ status: event.currentTarget.value })}
          >
            <option value="">All</option>
            {STATUSES.map((status) => (
              <option key={status} value={status}>
                {statusWords(status)}
              </option>
            ))}
          </select>
        )}
      </Field>
      <Field label="Reason">
        {(id) => (
          <select
            id={id}
            value={query.reason ?? ""}
            onChange={(event) => setQuery({ reason: event.currentTarget.value })}
          >
            <option value="">All</option>
            {REASON_CODES.map((code) => (
              <option key={code} value={code}>
                {reasonWords(code)}
              </option>
            ))}
          </select>
        )}
      </Field>
      {(["from", "to"] as const).map((name) => (
        <Field key={name} label={name === "from" ? "From" : "To"}>
          {(id) => (
            <input
              id={id}
              type="datetime-local"
              step="1"
              value={query[name] ? inputTime(query[name]).slice(0, 19) : ""}
              onChange={(event) => setQuery({ [name]: fromInputTime(event.currentTarget.value) })}
            />
          )}
        </Field>
      ))}
      {Object.keys(query).length > 0 && (
        <button type="button" class="quiet" onClick={() => setQuery(NO_FILTER)}>
          Clear
        </button>
      )}
    </form>
  );
}
