// Changing a product or an account: first what, then what it comes to, then it is done.

import { useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { address, send } from "../api.ts";
import { amount, cents } from "../format.ts";
import { useAction } from "../hooks.ts";
import { type Entity, LEDGERS, type LedgerKind } from "../ledger.ts";
import { Button, Dialog, Failure, Field } from "./ui.tsx";

export type Change = "add" | "adjust" | "set" | "price";

const TITLES: Record<Change, string> = {
  add: "New",
  adjust: "Adjust",
  set: "Set the balance of",
  price: "Price of",
};

export function ChangeDialog({
  kind,
  what,
  now,
  onClose,
  done,
}: {
  kind: LedgerKind;
  what: Change;
  now?: Entity | undefined;
  onClose: () => void;
  done: (id: string) => void;
}) {
  const ledger = LEDGERS[kind];
  const known = now?.[ledger.field];
  const [id, setId] = useState(known ?? "");
  const [value, setValue] = useState("");
  const [price, setPrice] = useState("");
  const [sure, setSure] = useState(false);
  const change = useAction(async (key: string, body: Record<string, unknown>) => {
    await send("POST", address([ledger.path]), body, key);
    announce(`${id} is changed`);
    done(id);
    onClose();
  });
  const body = (): Record<string, unknown> => ({
    [ledger.field]: id,
    ...(what === "adjust" ? { adjust: Number(value) } : what === "price" ? {} : { balance: Number(value) }),
    ...(what === "price" ? { price: value === "" ? null : Number(value) } : {}),
    ...(what === "add" && price !== "" ? { price: Number(price) } : {}),
  });
  const before = now?.balance ?? 0;
  const after = what === "adjust" ? cents(before + Number(value)) : Number(value);
  const words =
    what === "price"
      ? `${now?.price === undefined ? "no price" : amount(now.price)} → ${value === "" ? "no price" : amount(Number(value))}`
      : `${now ? ledger.figure(before) : "not there"} → ${ledger.figure(after)} ${ledger.balance}`;
  return (
    <Dialog title={`${TITLES[what]} ${known ?? ledger.one}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (sure) void change.run(body());
          else setSure(true);
        }}
      >
        <fieldset disabled={sure} class="plain">
          {!known && (
            <Field label={kind === "stock" ? "Product" : "Customer"} name={ledger.field} error={change.error}>
              {(field, described) => (
                <input
                  id={field}
                  aria-describedby={described}
                  required
                  maxLength={64}
                  value={id}
                  onInput={(event) => setId(event.currentTarget.value)}
                />
              )}
            </Field>
          )}
          <Field
            label={
              what === "adjust"
                ? "Add, or take with a minus"
                : what === "price"
                  ? "Price a unit"
                  : `${kind === "stock" ? "Units" : "Money"} ${ledger.balance}`
            }
            hint={what === "price" ? "Empty: it has no price, and an order costs what it says" : ""}
            name={what === "adjust" ? "adjust" : what === "price" ? "price" : "balance"}
            error={change.error}
          >
            {(field, described) => (
              <input
                id={field}
                aria-describedby={described}
                type="number"
                required={what !== "price"}
                step={what === "price" ? "0.01" : ledger.step}
                min={what === "adjust" ? undefined : 0}
                value={value}
                onInput={(event) => setValue(event.currentTarget.value)}
              />
            )}
          </Field>
          {what === "add" && kind === "stock" && (
            <Field label="Price a unit" hint="May be left empty" name="price" error={change.error}>
              {(field, described) => (
                <input
                  id={field}
                  aria-describedby={described}
                  type="number"
                  step="0.01"
                  min={0}
                  value={price}
                  onInput={(event) => setPrice(event.currentTarget.value)}
                />
              )}
            </Field>
          )}
        </fieldset>
        {sure && (
          <p class="from-to" role="status">
            {id}: <strong>{words}</strong>
            {what === "set" && now && now.held > 0 && (
              <small> What open orders hold ({ledger.figure(now.held)}) stays as it is.</small>
            )}
          </p>
        )}
        <Failure error={change.error} />
        <div class="actions">
          {sure ? (
            <Button onClick={() => setSure(false)}>Back</Button>
          ) : (
            <Button onClick={onClose}>Not now</Button>
          )}
          <Button type="submit" tone="primary" busy={change.busy}>
            {sure ? "Do it" : "Go on"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
