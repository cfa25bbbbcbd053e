// Light, dark, or as the system has it.

import { computed, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const THEMES: Theme[] = ["system", "light", "dark"];
const KEPT = "console.theme";

export const theme = signal<Theme>("system");
const systemIsDark = signal(false);
/** What is to be seen: charts draw their colours themselves. */
export const isDark = computed(() =>
  theme.value === "system" ? systemIsDark.value : theme.value === "dark",
);

export function startTheme(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  systemIsDark.value = dark.matches;
  dark.addEventListener("change", () => {
    systemIsDark.value = dark.matches;
  });
  const kept = localStorage.getItem(KEPT) as Theme | null;
  show(kept && THEMES.includes(kept) ? kept : "system");
}

export function nextTheme(): void {
  const next = THEMES[(THEMES.indexOf(theme.peek()) + 1) % THEMES.length] ?? "system";
  localStorage.setItem(KEPT, next);
  show(next);
}

function show(next: Theme): void {
  theme.value = next;
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
}
