import { useState } from "preact/hooks";
import { placeOrder } from "../demo.ts";
import { cents } from "../format.ts";
import { useAction } from "../hooks.ts";
import { go } from "../router.ts";
import { ownCustomer } from "../session.ts";
import type { NewOrder } from "../types.ts";
import { Button, Failure, Field } from "./ui.tsx";

/** A small order, of one product. */
export function NewOrderForm({ onClose }: { onClose: () => void }) {
  const own = ownCustomer();
  const [customerId, setCustomer] = useState(own ?? "");
  const [productId, setProduct] = useState("");
  const [qty, setQty] = useState("1");
  const [unitPrice, setPrice] = useState("");
  const [totalAmount, setTotal] = useState("");
  const place = useAction(async (key: string, order: NewOrder) => {
    const { orderId } = await placeOrder(order, key);
    onClose();
    go(["orders", orderId]);
  });
  const total = unitPrice === "" ? totalAmount : String(cents(Number(qty) * Number(unitPrice)));
  const submit = (event: Event) => {
    event.preventDefault();
    const item = {
      productId,
      qty: Number(qty),
      ...(unitPrice === "" ? {} : { unitPrice: Number(unitPrice) }),
    };
    void place.run({ customerId, items: [item], totalAmount: Number(total) });
  };
  return (
    <form onSubmit={submit}>
      {!own && (
        <Field label="Customer" name="customerId" error={place.error}>
          {(id, described) => (
            <input
              id={id}
              aria-describedby={described}
              required
              maxLength={64}
              value={customerId}
              onInput={(event) => setCustomer(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      <Field label="Product" name="productId" error={place.error}>
        {(id, described) => (
          <input
            id={id}
            aria-describedby={described}
            required
            maxLength={64}
            value={productId}
            onInput={(event) => setProduct(event.currentTarget.value)}
          />
        )}
      </Field>
      <div class="fields">
        <Field label="Quantity" name="qty" error={place.error}>
          {(id, described) => (
            <input
              id={id}
              aria-describedby={described}
              type="number"
              required
              min={1}
              max={100000}
              value={qty}
              onInput={(event) => setQty(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Price a unit" name="unitPrice" error={place.error} hint="Empty if it has none">
          {(id, described) => (
            <input
              id={id}
              aria-describedby={described}
              type="number"
              min={0}
              step="0.01"
              value={unitPrice}
              onInput={(event) => setPrice(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Amount" name="totalAmount" error={place.error}>
          {(id, described) => (
            <input
              id={id}
              aria-describedby={described}
              type="number"
              required
              min={0}
              step="0.01"
              readOnly={unitPrice !== ""}
              value={total}
              onInput={(event) => setTotal(event.currentTarget.value)}
            />
          )}
        </Field>
      </div>
      <Failure error={place.error} />
      <div class="actions">
        <Button onClick={onClose}>Not now</Button>
        <Button type="submit" tone="primary" busy={place.busy}>
          Place the order
        </Button>
      </div>
    </form>
  );
}
