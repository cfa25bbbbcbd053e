// What screen readers announce of what happens by itself: politely, and not more than every two seconds.

import { signal } from "@preact/signals";

export const announced = signal("");
const PAUSE = 2000;
let next = "";
let timer: ReturnType<typeof setTimeout> | undefined;

export function announce(words: string): void {
  next = words;
  if (timer) return;
  announced.value = next;
  next = "";
  timer = setTimeout(() => {
    timer = undefined;
    if (next) announce(next);
  }, PAUSE);
}
