// What could not be processed, and what is still open: found and healed.

import { useEffect, useRef, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { address, send } from "../api.ts";
import {
  Badge,
  Button,
  Confirm,
  Dialog,
  Empty,
  Failure,
  Loading,
  LoadMore,
  OrderLink,
  Table,
} from "../components/ui.tsx";
import { plural, pretty, seconds, whole } from "../format.ts";
import { useAction, usePages, useRead } from "../hooks.ts";
import { href } from "../router.ts";
import type { DeadLetter, DeadLetters, OpenOrder, Queue, Queues, Redrive } from "../types.ts";

export function DeadLettersScreen({ queue, local }: { queue: string | undefined; local: boolean }) {
  const queues = useRead<Queues>(address(["operations", "queues"]), local ? 3000 : 10_000);
  const all = queues.data?.queues.filter((each): each is DeadQueue => each.deadLetters !== undefined) ?? [];
  const dead = all.reduce((sum, each) => sum + each.deadLetters, 0);
  const chosen =
    all.find(({ name }) => name === queue) ?? (queue ? undefined : all.find((each) => each.deadLetters > 0));
  return (
    <>
      <h1 tabIndex={-1}>Dead letters</h1>
      <Failure error={queues.error} retry={queues.reload} />
      {!queues.data && queues.loading && <Loading what="the queues" />}
      {queues.data && (
        <>
          <p class={dead ? "alarming lead" : "lead"}>
            {dead
              ? `${plural(dead, "message")} could not be processed.`
              : "None: everything that was sent has been processed."}
          </p>
          <ul class="chips" aria-label="Queues">
            {all.map((each) => (
              <li key={each.name}>
                <a
                  href={href(["dead-letters", each.name])}
                  aria-current={each.name === chosen?.name ? "true" : undefined}
                  class={each.deadLetters ? "bad" : ""}
                >
                  {each.name} <b>{whole(each.deadLetters)}</b>
                </a>
              </li>
            ))}
          </ul>
        </>
      )}
      {chosen && (chosen.deadLetters > 0 || queue) && (
        <Letters queue={chosen} changed={queues.reload} key={chosen.name} />
      )}
      {queue && queues.data && !chosen && <Empty title={`There is no queue ${queue}.`} />}
      <OpenOrders />
    </>
  );
}

type DeadQueue = Queue & { deadLetters: number };

const MOST = 20; // that are read at once
const HIDDEN = 10_000; // by then some that were hidden can be seen again

/** SQS shows each reader some of the messages, and hides them from the next one for a while: what was seen stays. */
function useLetters(queue: DeadQueue) {
  const read = useRead<DeadLetters>(address(["operations", "dead-letters", queue.name], { limit: MOST }));
  const [seen, setSeen] = useState<DeadLetter[]>([]);
  const count = useRef(queue.deadLetters);
  const { data, reload } = read;
  useEffect(() => {
    if (data) setSeen((before) => together(before, data));
  }, [data]);
  useEffect(() => {
    if (count.current === queue.deadLetters) return;
    count.current = queue.deadLetters;
    reload();
  }, [queue.deadLetters, reload]);
  const missing = data !== undefined && seen.length < Math.min(data.count, MOST);
  useEffect(() => {
    if (!missing) return;
    const timer = setTimeout(reload, HIDDEN);
    return () => clearTimeout(timer);
  }, [missing, data, reload]);
  const forget = (gone: (letter: DeadLetter) => boolean) =>
    setSeen((before) => before.filter((letter) => !gone(letter)));
  return { ...read, letters: seen, forget };
}

/** The letters of now and of before, as long as there are so many. */
function together(before: DeadLetter[], { deadLetters, count }: DeadLetters): DeadLetter[] {
  const now = new Set(deadLetters.map((letter) => letter.messageId));
  const others = before.filter((letter) => !now.has(letter.messageId));
  return [...deadLetters, ...others.slice(0, Math.max(0, count - deadLetters.length))];
}

function Letters({ queue, changed }: { queue: DeadQueue; changed: () => void }) {
  const { letters, forget, ...read } = useLetters(queue);
  const [redriving, setRedriving] = useState(false);
  const [discarding, setDiscarding] = useState<DeadLetter[] | undefined>(undefined);
  const again = () => {
    read.reload();
    changed();
  };
  const unreadable = letters.filter((letter) => !letter.readable);
  return (
    <section class="card" aria-labelledby="letters">
      <div class="title">
        <h2 id="letters">{queue.name}</h2>
        <span class="note">
          {plural(read.data?.count ?? queue.deadLetters, "dead letter")}
          {letters.length > 0 &&
            letters.length < (read.data?.count ?? 0) &&
            `, ${letters.length} of them here`}
        </span>
        <div class="actions">
          <Button class="small" busy={read.loading} onClick={again}>
            Read again
          </Button>
          {unreadable.length > 0 && (
            <Button class="small" onClick={() => setDiscarding(unreadable.slice(0, 10))}>
              Discard {plural(Math.min(10, unreadable.length), "unreadable one")}…
            </Button>
          )}
          {queue.redrivable && letters.length > 0 && (
            <Button tone="primary" onClick={() => setRedriving(true)}>
              Redrive…
            </Button>
          )}
        </div>
      </div>
      <Failure error={read.error} retry={read.reload} />
      {!queue.redrivable && letters.length > 0 && (
        <p>
          <small>
            These can't be sent back: they are records of changes that failed. docs/how-to/redrive.md says
            what to do.
          </small>
        </p>
      )}
      {read.data && letters.length === 0 && (
        <Empty
          title={
            read.data.count
              ? "They were read a moment ago, and SQS hides them for some seconds."
              : "No dead letters here."
          }
        >
          {read.data.count ? "SQS shows them again in some seconds: they are read again then." : undefined}
        </Empty>
      )}
      <ul class="letters">
        {letters.map((letter) => (
          <Letter key={letter.messageId} letter={letter} discard={() => setDiscarding([letter])} />
        ))}
      </ul>
      {redriving && (
        <RedriveDialog
          queue={queue.name}
          gone={() => forget((letter) => letter.readable)}
          onClose={() => {
            setRedriving(false);
            again();
          }}
        />
      )}
      {discarding && (
        <DiscardDialog
          queue={queue.name}
          letters={discarding}
          gone={(ids) => forget((letter) => ids.includes(letter.messageId))}
          onClose={() => {
            setDiscarding(undefined);
            again();
          }}
        />
      )}
    </section>
  );
}

function Letter({ letter, discard }: { letter: DeadLetter; discard: () => void }) {
  return (
    <li class={letter.readable ? "" : "unreadable"}>
      <div class="title">
        <h3>{letter.type ?? (letter.readable ? "message" : "unreadable message")}</h3>
        {letter.orderId && (
          <span>
            order <OrderLink id={letter.orderId} /> {letter.orderStatus && <Badge of={letter.orderStatus} />}
          </span>
        )}
        <span class="note">
          {seconds(letter.ageSeconds)} old, received {plural(letter.receives, "time")}
        </span>
        {!letter.readable && (
          <Button class="small" onClick={discard}>
            Discard…
          </Button>
        )}
      </div>
      <p class="reason">{letter.reason}</p>
      <details>
        <summary>Its body</summary>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard */}
        <pre tabIndex={0}>{pretty(letter.body)}</pre>
        {letter.bodyTruncated && <small>Shortened: the first 4,000 characters.</small>}
      </details>
      <small class="id">{letter.messageId}</small>
    </li>
  );
}

const AT_ONCE = 100;

function redrive(queue: string, dryRun: boolean, key: string) {
  const url = address(["operations", "dead-letters", queue, "redrive"]);
  return send<Redrive>("POST", url, { dryRun, limit: dryRun ? 1000 : AT_ONCE }, key);
}

/** First a dry run, then the messages go back, some at a time. */
function RedriveDialog({ queue, gone, onClose }: { queue: string; gone: () => void; onClose: () => void }) {
  const [dry, setDry] = useState<Redrive | undefined>(undefined);
  const [sum, setSum] = useState({ moved: 0, failed: 0, foreign: 0, done: false });
  const look = useAction(async (key: string) => setDry((await redrive(queue, true, key)).body));
  const go = useAction(async () => {
    let { moved, failed } = { moved: 0, failed: 0 };
    for (;;) {
      const { body } = await redrive(queue, false, crypto.randomUUID());
      moved += body.moved;
      failed += body.failed;
      // What is not ours stays; and what can't be moved now would not be a moment later.
      const done = body.remaining <= body.foreign || body.moved === 0;
      setSum({ moved, failed, foreign: body.foreign, done });
      if (done) break;
    }
    if (moved) gone();
    announce(`${plural(moved, "message")} went back`);
  });
  useEffect(() => void look.run(), []);
  const stays = (foreign: number) =>
    foreign ? `, ${whole(foreign)} ${foreign === 1 ? "is not ours and stays" : "are not ours and stay"}` : "";
  return (
    <Dialog title={`Redrive ${queue}`} onClose={onClose}>
      <p>
        The messages go back to their queue and are processed once more. What was done already is not done
        twice: each step knows its order.
      </p>
      <Failure error={look.error} retry={() => void look.run()} />
      {look.busy && <Loading what="what would happen" />}
      {dry && !go.busy && !sum.done && (
        <p class="from-to" role="status">
          <strong>
            {whole(dry.moved)} would go back{stays(dry.foreign)}.
          </strong>
        </p>
      )}
      {(go.busy || sum.done) && (
        <div role="status">
          <progress max={Math.max(dry?.moved ?? 0, sum.moved, 1)} value={sum.moved} aria-label="Redriven" />
          <p class="from-to">
            <strong>
              {whole(sum.moved)} went back{stays(sum.foreign)}
              {sum.failed > 0 && `, ${whole(sum.failed)} could not be sent and stayed`}
              {sum.done ? "." : "…"}
            </strong>
          </p>
        </div>
      )}
      <Failure error={go.error} />
      <div class="actions">
        <Button onClick={onClose}>{sum.done ? "Close" : "Not now"}</Button>
        {dry && dry.moved > 0 && !sum.done && (
          <Button tone="primary" busy={go.busy} onClick={() => void go.run()}>
            Redrive {whole(dry.moved)}
          </Button>
        )}
      </div>
    </Dialog>
  );
}

interface DiscardProps {
  queue: string;
  letters: DeadLetter[];
  gone: (messageIds: string[]) => void;
  onClose: () => void;
}

function DiscardDialog({ queue, letters, gone, onClose }: DiscardProps) {
  const discard = useAction(async (key: string) => {
    const url = address(["operations", "dead-letters", queue, "discard"]);
    const messageIds = letters.map((letter) => letter.messageId);
    const { body } = await send<{ discarded: number; kept: number }>("POST", url, { messageIds }, key);
    if (!body.kept) gone(messageIds);
    announce(`${body.discarded} discarded, ${body.kept} kept`);
    onClose();
  });
  return (
    <Confirm
      title={`Discard ${plural(letters.length, "message")}?`}
      yes="Discard"
      danger
      busy={discard.busy}
      error={discard.error}
      onYes={() => void discard.run()}
      onClose={onClose}
    >
      <p>
        {letters.length === 1 ? "It is" : "They are"} not readable by this system, so no order depends on{" "}
        {letters.length === 1 ? "it" : "them"}. This can't be undone. Readable messages are kept.
      </p>
    </Confirm>
  );
}

function OpenOrders() {
  const pages = usePages<{ openOrders: OpenOrder[] }, OpenOrder>(
    address(["operations", "open-orders"], { limit: 50 }),
    (body) => body.openOrders,
  );
  const [outcome, setOutcome] = useState("");
  const recheck = useAction(async (key: string, orderIds: string[]) => {
    const url = address(["operations", "open-orders", "recheck"]);
    const { body } = await send<{ rechecked: number }>("POST", url, orderIds.length ? { orderIds } : {}, key);
    const words = `${plural(body.rechecked, "order")} will be checked now.`;
    setOutcome(words);
    announce(words);
    setTimeout(pages.reload, 2500);
  });
  return (
    <section class="card" aria-labelledby="open">
      <div class="title">
        <h2 id="open">Open orders</h2>
        <span class="note" role="status">
          {outcome}
        </span>
        <div class="actions">
          <Button class="small" busy={pages.loading} onClick={pages.reload}>
            Read again
          </Button>
          {pages.rows.length > 0 && (
            <Button tone="primary" busy={recheck.busy} onClick={() => void recheck.run([])}>
              Check all now
            </Button>
          )}
        </div>
      </div>
      <Failure error={pages.error} retry={pages.reload} />
      <Failure error={recheck.error} />
      {pages.rows.length === 0 && !pages.loading && !pages.error && (
        <Empty title="No order has been open too long.">
          One is listed here if it is still open when the watchdog first checks it.
        </Empty>
      )}
      {pages.rows.length > 0 && (
        <Table label="Open orders">
          <thead>
            <tr>
              <th scope="col">Order</th>
              <th scope="col">Customer</th>
              <th scope="col">Status</th>
              <th scope="col" class="num">
                Age
              </th>
              <th scope="col">Waits for</th>
              <th scope="col">
                <span class="sr">Action</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {pages.rows.map((order) => (
              <tr key={order.orderId}>
                <td>
                  <OrderLink id={order.orderId} />
                </td>
                <td>{order.customerId}</td>
                <td class="nowrap">
                  <Badge of={order.status} />
                </td>
                <td class="num">{seconds(order.ageSeconds)}</td>
                <td>
                  {order.waitsFor.join("; ")}
                  {order.deadLetters.map((name) => (
                    <span key={name}>
                      {" "}
                      <a class="alarming" href={href(["dead-letters", name])}>
                        dead letter in {name}
                      </a>
                    </span>
                  ))}
                </td>
                <td>
                  <Button
                    class="small"
                    disabled={recheck.busy}
                    onClick={() => void recheck.run([order.orderId])}
                    aria-label={`Check order ${order.orderId} now`}
                  >
                    Check now
                  </Button>
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <LoadMore pages={pages} what="open orders" />
    </section>
  );
}
