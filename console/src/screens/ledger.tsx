// One product or account: how it stands, how it stood, and everything that was done to it.

import { useEffect, useMemo, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { address, send } from "../api.ts";
import { Bar } from "../components/Bar.tsx";
import { type Change, ChangeDialog } from "../components/Change.tsx";
import { Chart, type Line } from "../components/Chart.tsx";
import {
  Button,
  Confirm,
  Empty,
  Failure,
  Field,
  Loading,
  LoadMore,
  OrderLink,
  Table,
  Time,
} from "../components/ui.tsx";
import { amount, fromInputTime, inputTime, reasonWords } from "../format.ts";
import { type Pages, useAction, usePages, useRead } from "../hooks.ts";
import { type Entity, LEDGERS, type Ledger, type LedgerKind } from "../ledger.ts";
import { go, href } from "../router.ts";
import type { Balance, HistoryEntry } from "../types.ts";

const FOLLOWS = 2500; // the history is written a moment after

export function LedgerScreen({ kind, id }: { kind: LedgerKind; id: string }) {
  const ledger = LEDGERS[kind];
  const read = useRead<Entity>(address([ledger.path, id]), 5000);
  const history = usePages<{ entries: HistoryEntry[] }, HistoryEntry>(
    address([ledger.path, id, "history"], { limit: 100 }),
    (body) => body.entries,
  );
  useEnoughToDraw(history);
  const [at, setAt] = useState("");
  const [change, setChange] = useState<Change | "delete" | undefined>(undefined);
  const reload = () => {
    read.reload();
    setTimeout(history.reload, FOLLOWS);
  };
  const now = read.data;
  return (
    <>
      <p class="crumbs">
        <a href={href([kind])}>{kind === "stock" ? "Stock" : "Accounts"}</a>
      </p>
      <div class="title">
        <h1 tabIndex={-1}>
          <span class="id">{id}</span>
        </h1>
        {now && (
          <div class="actions">
            <Button onClick={() => setChange("adjust")}>Adjust…</Button>
            <Button onClick={() => setChange("set")}>Set…</Button>
            {kind === "stock" && <Button onClick={() => setChange("price")}>Price…</Button>}
            <Button tone="danger" onClick={() => setChange("delete")}>
              Delete…
            </Button>
          </div>
        )}
      </div>
      {change === "delete" && now ? (
        <Delete kind={kind} id={id} now={now} onClose={() => setChange(undefined)} />
      ) : (
        change &&
        change !== "delete" && (
          <ChangeDialog
            kind={kind}
            what={change}
            now={now}
            onClose={() => setChange(undefined)}
            done={reload}
          />
        )
      )}
      <Failure error={read.error} retry={read.reload} />
      {!now && read.loading && <Loading what={`the ${ledger.one}`} />}
      {now && (
        <section class="card" aria-label="How it stands">
          <Bar of={now} ledger={ledger} large />
          <p class="under">
            <small>
              {now.price !== undefined && `A unit costs ${amount(now.price)}. `}
              Changed <Time iso={now.updateTime} date />
              {kind === "accounts" && (
                <>
                  {" · "}
                  <a href={href(["orders"], { customerId: id })}>orders</a>
                  {" · "}
                  <a href={href(["webhooks"], { customerId: id })}>webhooks</a>
                </>
              )}
            </small>
          </p>
        </section>
      )}
      {(now || history.rows.length > 0) && (
        <>
          <section class="card" aria-labelledby="over-time">
            <div class="title">
              <h2 id="over-time">Over time</h2>
              <Field label="As it was at">
                {(field) => (
                  <input
                    id={field}
                    type="datetime-local"
                    step="0.001"
                    value={at ? inputTime(at) : ""}
                    onChange={(event) => setAt(fromInputTime(event.currentTarget.value) ?? "")}
                  />
                )}
              </Field>
            </div>
            {at && <Then kind={kind} id={id} at={at} close={() => setAt("")} />}
            <History entries={history.rows} now={now} ledger={ledger} pick={setAt} />
          </section>
          <Entries kind={kind} pages={history} reload={history.reload} />
        </>
      )}
    </>
  );
}

const ENOUGH = 8; // points of a chart
const MOST_READ = 500; // entries that are read for it unasked

/** Of a product that is sold out, most entries are declines, which change nothing: so more are read. */
function useEnoughToDraw({ rows, more, loading, error, loadMore }: Pages<HistoryEntry>): void {
  const few = new Set(rows.filter((entry) => entry.after).map((entry) => entry.time)).size < ENOUGH;
  useEffect(() => {
    if (few && more && !loading && !error && rows.length < MOST_READ) loadMore();
  }, [few, more, loading, error, rows.length]);
}

function Then({ kind, id, at, close }: { kind: LedgerKind; id: string; at: string; close: () => void }) {
  const ledger = LEDGERS[kind];
  const then = useRead<Entity>(address([ledger.path, id], { at }));
  return (
    <div class="then" role="status">
      <p>
        At <Time iso={at} date />:{" "}
        <button type="button" class="quiet small" onClick={close}>
          Only now
        </button>
      </p>
      <Failure error={then.error} />
      {then.data && <Bar of={then.data} ledger={ledger} />}
    </div>
  );
}

function linesOf(ledger: Ledger): Line[] {
  return [
    { label: ledger.balance, colour: "--accent", kind: "steps", value: ledger.figure },
    { label: ledger.held, colour: "--warn", kind: "steps", value: ledger.figure },
    { label: ledger.settled, colour: "--good", kind: "steps", value: ledger.figure },
  ];
}

interface HistoryProps {
  entries: HistoryEntry[];
  now: Entity | undefined;
  ledger: Ledger;
  pick: (at: string) => void;
}

function History({ entries, now, ledger, pick }: HistoryProps) {
  const lines = useMemo(() => linesOf(ledger), [ledger]);
  const data = useMemo(() => columns(entries, now), [entries, now]);
  const [times] = data;
  if (times.length < 2) {
    return (
      <Empty title="Nothing to draw yet.">
        The chart begins with the first entry that changed something.
      </Empty>
    );
  }
  return (
    <>
      <Chart
        summary={`${ledger.balance}, ${ledger.held} and ${ledger.settled} over the entries below`}
        data={data}
        lines={lines}
        height={240}
        onPick={(seconds) => pick(new Date(Math.min(seconds * 1000, Date.now())).toISOString())}
      />
      <p class="under">
        <small>Click a moment to see how it stood then. Load more entries below to look further back.</small>
      </p>
    </>
  );
}

/** The figures after each entry, oldest first, and those of now; of entries of one moment the last counts. */
function columns(
  entries: HistoryEntry[],
  now: Balance | undefined,
): [number[], number[], number[], number[]] {
  const byTime = new Map<number, { balance: number; held: number; settled: number }>();
  for (const entry of entries.toReversed()) {
    if (entry.after) byTime.set(Date.parse(entry.time) / 1000, entry.after);
  }
  const sorted = [...byTime].sort((a, b) => a[0] - b[0]);
  if (now && sorted.length)
    sorted.push([Math.max(Date.now() / 1000, (sorted.at(-1)?.[0] ?? 0) + 0.001), now]);
  return [
    sorted.map(([time]) => time),
    sorted.map(([, after]) => after.balance),
    sorted.map(([, after]) => after.held),
    sorted.map(([, after]) => after.settled),
  ];
}

const SHOWN = 50; // entries at first, and more each time

const TYPES: Record<HistoryEntry["type"], string> = {
  ADJUST: "Adjusted",
  HOLD: "Held",
  RELEASE: "Released",
  SETTLE: "Settled",
};

function Entries({
  kind,
  pages,
  reload,
}: {
  kind: LedgerKind;
  pages: Pages<HistoryEntry>;
  reload: () => void;
}) {
  const ledger = LEDGERS[kind];
  const [shown, setShown] = useState(SHOWN);
  const rows = pages.rows.slice(0, shown);
  const loadMore = () => {
    setShown(shown + SHOWN);
    if (shown + SHOWN > pages.rows.length) pages.loadMore();
  };
  return (
    <section class="card" aria-labelledby="entries">
      <div class="title">
        <h2 id="entries">Entries</h2>
        <button type="button" class="quiet small" onClick={reload}>
          Read again
        </button>
      </div>
      <Failure error={pages.error} retry={reload} />
      {pages.rows.length === 0 && !pages.loading && !pages.error && (
        <Empty title="Nothing yet.">Entries appear a moment after what they are of.</Empty>
      )}
      {pages.rows.length > 0 && (
        <Table label="Entries">
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">What</th>
              <th scope="col">Order</th>
              <th scope="col" class="num">
                Amount
              </th>
              <th scope="col" class="num">
                {ledger.balance}
              </th>
              <th scope="col" class="num">
                {ledger.held}
              </th>
              <th scope="col" class="num">
                {ledger.settled}
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((entry, index) => (
              <tr key={`${entry.time}${entry.type}${entry.orderId ?? ""}${index}`}>
                <td class="nowrap">
                  <Time iso={entry.time} date />
                </td>
                <td>
                  {entry.declined ? (
                    <span class="wrong">Declined: {reasonWords(entry.declined.code)}</span>
                  ) : entry.after?.deleted ? (
                    "Deleted"
                  ) : (
                    TYPES[entry.type]
                  )}
                </td>
                <td>{entry.orderId ? <OrderLink id={entry.orderId} /> : "–"}</td>
                <td class="num">
                  {entry.declined ? `asked ${ledger.figure(entry.declined.asked)}` : signed(entry, ledger)}
                </td>
                <td class="num">{entry.after ? ledger.figure(entry.after.balance) : "–"}</td>
                <td class="num">{entry.after ? ledger.figure(entry.after.held) : "–"}</td>
                <td class="num">{entry.after ? ledger.figure(entry.after.settled) : "–"}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <LoadMore
        pages={{ ...pages, rows, loadMore, more: pages.more || shown < pages.rows.length }}
        what="entries"
      />
    </section>
  );
}

const signed = ({ type, amount }: HistoryEntry, ledger: Ledger): string =>
  type === "ADJUST" && amount > 0 ? `+${ledger.figure(amount)}` : ledger.figure(amount);

function Delete({
  kind,
  id,
  now,
  onClose,
}: {
  kind: LedgerKind;
  id: string;
  now: Entity;
  onClose: () => void;
}) {
  const ledger = LEDGERS[kind];
  const remove = useAction(async (key: string) => {
    await send("DELETE", address([ledger.path, id]), undefined, key);
    announce(`${id} is deleted`);
    go([kind]);
  });
  return (
    <Confirm
      title={`Delete ${id}?`}
      yes="Delete"
      danger
      busy={remove.busy}
      error={remove.error}
      onYes={() => void remove.run()}
      onClose={onClose}
    >
      <p>
        <strong>
          {ledger.figure(now.balance)} {ledger.balance} → nothing.
        </strong>{" "}
        Orders are then refused: {kind === "stock" ? "unknown product" : "unknown customer"}. Setting a
        balance opens it again, with what is {ledger.settled} as it was.
      </p>
      {now.held > 0 && (
        <p>Open orders hold {ledger.figure(now.held)} of it: until they are over, this is refused.</p>
      )}
    </Confirm>
  );
}
