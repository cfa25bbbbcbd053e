// What happened, day by day and product by product.

import { useEffect, useMemo, useState } from "preact/hooks";
import { address, epoch, get } from "../api.ts";
import { Chart, type Line } from "../components/Chart.tsx";
import { Button, Empty, Failure, Field, Loading, Table } from "../components/ui.tsx";
import { type Cell, csv, download } from "../csv.ts";
import { amount, plural, reasonWords, utcDay, whole } from "../format.ts";
import { href, route, setQuery } from "../router.ts";
import type { Counts, DailyReports } from "../types.ts";

const DAY = 86_400_000;
const MOST_DAYS = 92;
const MOST_ROWS = 10_000; // more than that is for a program, not for a page
const SHOWN = 200;

export function ReportsScreen() {
  const { query } = route.value;
  const to = query.to ?? utcDay(new Date());
  const from = query.from ?? utcDay(new Date(Date.parse(to) - 6 * DAY));
  const report = useReport(from, to);
  const [shown, setShown] = useState(SHOWN);
  const { days, products } = report.data;
  const reasons = useMemo(
    () => [...new Set([...days, ...products].flatMap((row) => Object.keys(row.orders.refused)))].sort(),
    [days, products],
  );
  const newest = useMemo(() => days.toReversed(), [days]);
  const latestProducts = useMemo(
    () => products.toSorted((a, b) => (a.day < b.day ? 1 : a.day > b.day ? -1 : 0)),
    [products],
  );
  return (
    <>
      <h1 tabIndex={-1}>Reports</h1>
      <form class="filters" aria-label="Days" onSubmit={(event) => event.preventDefault()}>
        {(["from", "to"] as const).map((name) => (
          <Field key={name} label={name === "from" ? "First day (UTC)" : "Last day (UTC)"}>
            {(id) => (
              <input
                id={id}
                type="date"
                value={name === "from" ? from : to}
                onChange={(event) =>
                  event.currentTarget.value && setQuery({ from, to, [name]: event.currentTarget.value })
                }
              />
            )}
          </Field>
        ))}
        {(
          [
            ["Today", 0],
            ["7 days", 6],
            ["30 days", 29],
          ] as const
        ).map(([name, back]) => (
          <button
            key={name}
            type="button"
            class="quiet"
            onClick={() =>
              setQuery({ from: utcDay(new Date(Date.now() - back * DAY)), to: utcDay(new Date()) })
            }
          >
            {name}
          </button>
        ))}
        <Button
          disabled={!days.length}
          onClick={() => download(`orders-${from}-${to}.csv`, csv(rowsOf(report.data, reasons)))}
        >
          Download CSV
        </Button>
      </form>
      {Date.parse(to) - Date.parse(from) >= MOST_DAYS * DAY && (
        <p class="wrong">A report has {MOST_DAYS} days at most: choose fewer.</p>
      )}
      <Failure error={report.error} retry={report.reload} />
      {report.loading && !days.length ? (
        <Loading what="the reports" />
      ) : days.length === 0 && !report.error ? (
        <Empty title={from > to ? "The last day is before the first." : "Nothing happened on these days."}>
          Reports follow by some seconds: what was placed just now is counted in a moment.
        </Empty>
      ) : (
        days.length > 0 && (
          <>
            <section class="card" aria-label="Chart">
              <DayChart report={report.data} from={from} to={to} />
            </section>
            <section class="card" aria-labelledby="by-day">
              <h2 id="by-day">By day</h2>
              <Table label="By day">
                <Head first="Day" amounts />
                <tbody>
                  {newest.map((row) => (
                    <tr key={row.day}>
                      <th scope="row" class="nowrap">
                        <a
                          href={href(["orders"], {
                            from: `${row.day}T00:00:00.000Z`,
                            to: `${row.day}T23:59:59.999Z`,
                          })}
                        >
                          {row.day}
                        </a>
                      </th>
                      <Figures counts={row.orders} />
                      <td class="num">{amount(row.amounts.placed)}</td>
                      <td class="num">{amount(row.amounts.shipped)}</td>
                    </tr>
                  ))}
                </tbody>
              </Table>
            </section>
            <section class="card" aria-labelledby="by-product">
              <h2 id="by-product">By product</h2>
              <Table label="By product">
                <Head first="Day" second="Product" units />
                <tbody>
                  {latestProducts.slice(0, shown).map((row) => (
                    <tr key={row.day + row.productId}>
                      <td class="nowrap">{row.day}</td>
                      <th scope="row" class="nowrap">
                        <a href={href(["stock", row.productId])}>{row.productId}</a>
                      </th>
                      <Figures counts={row.orders} />
                      <td class="num">{whole(row.units.placed)}</td>
                      <td class="num">{whole(row.units.shipped)}</td>
                    </tr>
                  ))}
                </tbody>
              </Table>
              {products.length > shown && (
                <p class="more">
                  <Button onClick={() => setShown(shown + SHOWN)}>
                    Show more of {plural(products.length, "row")}
                  </Button>
                </p>
              )}
              {report.cut && (
                <p class="wrong">Only the first {whole(MOST_ROWS)} rows were read: choose fewer days.</p>
              )}
            </section>
          </>
        )
      )}
    </>
  );
}

interface Report {
  data: DailyReports;
  cut: boolean;
  loading: boolean;
  error: unknown;
  reload: () => void;
}

/** All pages of the report; a sum of half of them would be wrong. */
function useReport(from: string, to: string): Report {
  const [state, setState] = useState<Omit<Report, "reload">>({
    data: { days: [], products: [] },
    cut: false,
    loading: true,
    error: undefined,
  });
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    const read = async () => {
      const data: DailyReports = { days: [], products: [] };
      let next: string | undefined = address(["reports", "daily"], { from, to, limit: 1000 });
      while (next !== undefined && data.days.length + data.products.length < MOST_ROWS) {
        const answer: { body: DailyReports; next: string | undefined } = await get(next, abort.signal);
        data.days.push(...answer.body.days);
        data.products.push(...answer.body.products);
        next = answer.next;
      }
      setState({ data, cut: next !== undefined, loading: false, error: undefined });
    };
    setState((before) => ({ ...before, loading: true }));
    read().catch((error) => {
      if (!abort.signal.aborted) setState((before) => ({ ...before, loading: false, error }));
    });
    return () => abort.abort();
  }, [from, to, asked, epoch.value]);
  return { ...state, reload: () => setAsked((count) => count + 1) };
}

const refusedOf = ({ refused }: Counts): number =>
  Object.values(refused).reduce((sum, count) => sum + count, 0);

interface HeadProps {
  first: string;
  second?: string;
  amounts?: boolean;
  units?: boolean;
}

function Head({ first, second, amounts, units }: HeadProps) {
  return (
    <thead>
      <tr>
        <th scope="col">{first}</th>
        {second && <th scope="col">{second}</th>}
        <th scope="col" class="num">
          Placed
        </th>
        <th scope="col" class="num">
          Confirmed
        </th>
        <th scope="col" class="num">
          Shipped
        </th>
        <th scope="col" class="num">
          Refused
        </th>
        <th scope="col">Why</th>
        <th scope="col" class="num">
          Cancelled
        </th>
        <th scope="col" class="num">
          Expired
        </th>
        {amounts && (
          <th scope="col" class="num">
            Amount placed
          </th>
        )}
        {amounts && (
          <th scope="col" class="num">
            Amount shipped
          </th>
        )}
        {units && (
          <th scope="col" class="num">
            Units placed
          </th>
        )}
        {units && (
          <th scope="col" class="num">
            Units shipped
          </th>
        )}
      </tr>
    </thead>
  );
}

/** Refusals by reason, the most frequent first. */
const whyWords = ({ refused }: Counts): string =>
  Object.entries(refused)
    .sort((a, b) => b[1] - a[1])
    .map(([code, count]) => `${whole(count)} ${reasonWords(code)}`)
    .join(", ");

function Figures({ counts }: { counts: Counts }) {
  return (
    <>
      <td class="num">{whole(counts.placed)}</td>
      <td class="num">{whole(counts.confirmed)}</td>
      <td class="num">{whole(counts.shipped)}</td>
      <td class="num">{whole(refusedOf(counts))}</td>
      <td class="reasons">{whyWords(counts)}</td>
      <td class="num">{whole(counts.cancelled)}</td>
      <td class="num">{whole(counts.expired)}</td>
    </>
  );
}

const LINES: Line[] = [
  { label: "placed", colour: "--accent-soft", counts: true, kind: "bars", value: whole },
  { label: "shipped", colour: "--good", value: whole },
  { label: "refused", colour: "--bad", dash: [6, 4], value: whole },
];

function DayChart({ report, from, to }: { report: DailyReports; from: string; to: string }) {
  const data = useMemo((): [number[], number[], number[], number[]] => {
    const byDay = new Map(report.days.map((row) => [row.day, row.orders]));
    const days: string[] = [];
    for (let at = Date.parse(from); at <= Date.parse(to) && days.length < MOST_DAYS; at += DAY)
      days.push(utcDay(new Date(at)));
    const figures = (of: (counts: Counts) => number) =>
      days.map((day) => {
        const counts = byDay.get(day);
        return counts ? of(counts) : 0;
      });
    return [
      days.map((day) => Date.parse(day) / 1000),
      figures((c) => c.placed),
      figures((c) => c.shipped),
      figures(refusedOf),
    ];
  }, [report, from, to]);
  return (
    <Chart
      summary="Orders placed, shipped and refused on each day; the table below has the figures"
      data={data}
      lines={LINES}
      days
    />
  );
}

/** A line for each day, and for each product on it. */
function rowsOf({ days, products }: DailyReports, reasons: string[]): Cell[][] {
  const head = [
    "day",
    "productId",
    "placed",
    "confirmed",
    "shipped",
    "refused",
    ...reasons.map((code) => `refused ${code}`),
    "cancelled",
    "expired",
    "amountPlaced",
    "amountShipped",
    "unitsPlaced",
    "unitsShipped",
  ];
  const counts = (row: Counts): Cell[] => [
    row.placed,
    row.confirmed,
    row.shipped,
    refusedOf(row),
    ...reasons.map((code) => row.refused[code] ?? 0),
    row.cancelled,
    row.expired,
  ];
  return [
    head,
    ...days.map((row): Cell[] => [
      row.day,
      "",
      ...counts(row.orders),
      row.amounts.placed,
      row.amounts.shipped,
      "",
      "",
    ]),
    ...products.map((row): Cell[] => [
      row.day,
      row.productId,
      ...counts(row.orders),
      "",
      "",
      row.units.placed,
      row.units.shipped,
    ]),
  ];
}
