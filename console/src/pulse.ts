// What has been going on, for as long as the page is open and whichever screen is shown.

import { effect, signal } from "@preact/signals";
import { address, epoch, get } from "./api.ts";
import { utcDay } from "./format.ts";
import { onEvents } from "./live.ts";
import { added, atLeast, countOn, NOTHING, newestFirst, Rates, type Today, todayOf } from "./stats.ts";
import type { DailyReports, OrderEvent } from "./types.ts";

const FEED = 30;
const READ_AGAIN = 30_000;
const REPORTS_FOLLOW = 15_000; // the reports gather events for up to ten seconds

export const feed = signal<OrderEvent[]>([]);
export const rates = new Rates();
/** For operators the day's figures (UTC); for a customer, who has no reports, those since the page was opened. */
export const today = signal<Today>(NOTHING);

// A report, and what events say has happened since it. Both may lag, and neither ever says too much: so the larger
// figure is the better one. Once all is quiet, the report has everything, and counting starts again.
let day = utcDay(new Date());
let reportedAt = 0;
let reported = NOTHING;
let newest = NOTHING;
let since = NOTHING;
let lastEvent = 0;

const show = (): void => {
  today.value = atLeast(newest, added(reported, since));
};

export function startPulse(operator: boolean): () => void {
  feed.value = [];
  since = NOTHING;
  const forget = onEvents((events) => {
    lastEvent = Date.now();
    feed.value = newestFirst([...events, ...feed.peek()]).slice(0, FEED);
    rates.add(events, lastEvent);
    const later = events.filter((event) => Date.parse(event.time) > reportedAt);
    since = countOn(since, later, operator ? day : "");
    show();
  });
  if (!operator) return forget;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const read = async () => {
    clearTimeout(timer);
    if (!document.hidden) await readReport();
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(read, Date.now() - lastEvent < REPORTS_FOLLOW * 2 ? REPORTS_FOLLOW : READ_AGAIN);
  };
  const stop = effect(() => {
    epoch.value; // after an interruption it is read at once
    void read();
  });
  return () => {
    forget();
    stop();
    stopped = true;
    clearTimeout(timer);
  };
}

async function readReport(): Promise<void> {
  const now = utcDay(new Date());
  try {
    const { body, time } = await get<DailyReports>(
      address(["reports", "daily"], { from: now, to: now, limit: 1 }),
    );
    newest = todayOf(body.days[0]?.orders);
    if (now !== day || Date.now() - lastEvent > REPORTS_FOLLOW) {
      reportedAt = time;
      reported = newest;
      since = NOTHING;
      day = now;
    }
    show();
  } catch {
    // The page says above that the API is away; the next time will do.
  }
}
