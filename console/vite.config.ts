import { defineConfig } from "vite";

// `npm run dev` shows the sources against a stack that runs: STACK is its origin, on this machine only.
const stack = process.env.STACK ?? "http://127.0.0.1:4566";
if (!/^http:\/\/(127\.0\.0\.1|localhost):\d+$/.test(stack)) {
  throw new Error(`STACK is http://127.0.0.1:PORT, not ${stack}`);
}
// The engine serves its session to its own origin only, so the proxy asks as that.
const proxied = { target: stack, changeOrigin: true, headers: { Origin: stack } };

export default defineConfig(({ command }) => ({
  base: command === "serve" ? "/v1/console/" : "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: {
    host: "127.0.0.1",
    proxy: { "^/v1/(?!console)": proxied, "^/v1/console/config.json": proxied, "^/_console/": proxied },
  },
  build: {
    outDir: "../functions/console/files",
    emptyOutDir: true,
    assetsDir: "",
    assetsInlineLimit: 0,
    modulePreload: false,
    target: ["chrome123", "firefox121", "safari17.5"],
  },
  // The page is at …/console, and its files at …/console/<file>: seen from the page, they are in a folder.
  experimental: {
    renderBuiltUrl: (file, { hostType }) => (hostType === "html" ? `console/${file}` : { relative: true }),
  },
}));
