import { render } from "preact";
import { App } from "./app.tsx";
import { startRouter } from "./router.ts";
import { takeKey } from "./session.ts";
import { startTheme } from "./theme.ts";
import "./style.css";

takeKey();
startTheme();
startRouter();
render(<App />, document.getElementById("app") as HTMLElement);
