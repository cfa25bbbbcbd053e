// All products, or all accounts: found by how their ids begin.

import { useEffect, useState } from "preact/hooks";
import { address } from "../api.ts";
import { Bar } from "../components/Bar.tsx";
import { ChangeDialog } from "../components/Change.tsx";
import { Button, Empty, Failure, Field, Loading, LoadMore, Table, Time } from "../components/ui.tsx";
import { amount } from "../format.ts";
import { usePages } from "../hooks.ts";
import { type Entity, LEDGERS, type LedgerKind } from "../ledger.ts";
import { go, href, route, setQuery } from "../router.ts";

const TYPED = 250; // a search begins when nothing was typed for so long

export function LedgersScreen({ kind }: { kind: LedgerKind }) {
  const ledger = LEDGERS[kind];
  const { prefix } = route.value.query;
  const [typed, setTyped] = useState(prefix ?? "");
  useEffect(() => {
    const timer = setTimeout(() => setQuery({ prefix: typed.trim() }), TYPED);
    return () => clearTimeout(timer);
  }, [typed]);
  const [adding, setAdding] = useState(false);
  const pages = usePages<Record<string, Entity[]>, Entity>(
    address([ledger.path], { prefix, limit: 50 }),
    (body) => body[ledger.rows] ?? [],
  );
  return (
    <>
      <h1 tabIndex={-1}>Stock and accounts</h1>
      <div class="title">
        <nav class="tabs" aria-label="Stock or accounts">
          <a href="#/stock" aria-current={kind === "stock" ? "page" : undefined}>
            Stock
          </a>
          <a href="#/accounts" aria-current={kind === "accounts" ? "page" : undefined}>
            Accounts
          </a>
        </nav>
        <form
          class="filters"
          onSubmit={(event) => {
            event.preventDefault();
            // An id that is known leads to what it names.
            if (typed.trim()) go([kind, typed.trim()]);
          }}
        >
          <Field label={`Ids that begin with`}>
            {(id) => (
              <input
                id={id}
                type="search"
                maxLength={64}
                value={typed}
                placeholder="All"
                onInput={(event) => setTyped(event.currentTarget.value)}
              />
            )}
          </Field>
          <Button onClick={() => setAdding(true)}>New {ledger.one}…</Button>
        </form>
      </div>
      {adding && (
        <ChangeDialog kind={kind} what="add" onClose={() => setAdding(false)} done={(id) => go([kind, id])} />
      )}
      <Failure error={pages.error} retry={pages.reload} />
      {pages.rows.length > 0 ? (
        <Table label={ledger.many}>
          <thead>
            <tr>
              <th scope="col">{kind === "stock" ? "Product" : "Customer"}</th>
              <th scope="col">{kind === "stock" ? "Units" : "Money"}</th>
              {kind === "stock" && (
                <th scope="col" class="num">
                  Price
                </th>
              )}
              <th scope="col">Changed</th>
            </tr>
          </thead>
          <tbody>
            {pages.rows.map((row) => {
              const id = row[ledger.field] ?? "";
              return (
                <tr key={id}>
                  <th scope="row">
                    <a href={href([kind, id])}>{id}</a>
                  </th>
                  <td class="wide">
                    <Bar of={row} ledger={ledger} />
                  </td>
                  {kind === "stock" && (
                    <td class="num">{row.price === undefined ? "–" : amount(row.price)}</td>
                  )}
                  <td class="nowrap">
                    <Time iso={row.updateTime} date />
                  </td>
                </tr>
              );
            })}
          </tbody>
        </Table>
      ) : pages.loading ? (
        <Loading what={ledger.many} />
      ) : (
        !pages.error && (
          <Empty title={prefix ? `No ${ledger.one} begins with “${prefix}”.` : `No ${ledger.many} yet.`}>
            {prefix
              ? "Type less of it."
              : "Make one here, or place a demo order on the pipeline: it makes its own."}
          </Empty>
        )
      )}
      <LoadMore pages={pages} what={ledger.many} />
    </>
  );
}
