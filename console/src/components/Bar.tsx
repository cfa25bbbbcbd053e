import type { Ledger } from "../ledger.ts";
import type { Balance } from "../types.ts";

/** Balance, held and settled as shares of all that was ever put in, with their figures. */
export function Bar({ of, ledger, large = false }: { of: Balance; ledger: Ledger; large?: boolean }) {
  const parts = [
    ["balance", of.balance, ledger.balance],
    ["held", of.held, ledger.held],
    ["settled", of.settled, ledger.settled],
  ] as const;
  const all = of.balance + of.held + of.settled;
  return (
    <div class={`ledger-bar ${large ? "large" : ""}`}>
      <div class="bar" aria-hidden="true">
        {parts.map(([name, value]) => (
          <span key={name} class={name} style={{ width: `${all ? (value / all) * 100 : 0}%` }} />
        ))}
      </div>
      <ul class="legend">
        {parts.map(([name, value, words]) => (
          <li key={name} class={name}>
            <b>{ledger.figure(value)}</b> {words}
          </li>
        ))}
      </ul>
    </div>
  );
}
