// The API's page of the documentation: finds the stack, signs in, and has Scalar draw the contract.
// local/docs_api.py puts it into the page.

const KEY = "console.key"; // the console's name for it: a tab that has opened the console is signed in here as well
const START = "`make run` starts a stack and prints the address of this page that is signed in to it.";

/** Where the stack is that serves this page; nothing if a stack does not. */
async function findStack() {
  if (location.protocol === "file:") return undefined;
  const answer = await fetch("stack.json").catch(() => undefined);
  return answer?.ok ? answer.json() : undefined;
}

/** An access token for the key in the address, which is taken out of it, or for the one that this tab has. */
async function signIn(session) {
  const given = /^#key=(.+)$/.exec(location.hash)?.[1];
  if (given) {
    sessionStorage.setItem(KEY, decodeURIComponent(given));
    history.replaceState(null, "", location.pathname);
  }
  const key = sessionStorage.getItem(KEY);
  if (!key) throw new Error("You are not signed in. `make run` prints the address that signs you in.");
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(session, { method: "POST", headers, body: JSON.stringify({ key }) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body.access_token;
}

/** Sends a request of the page's; one with a token that has run out meanwhile, with a new one. */
const sending = (session, known) => async (input, init) => {
  const request = new Request(input, init);
  const again = request.clone();
  const answer = await fetch(request);
  if (answer.status !== 401 || request.headers.get("Authorization") !== `Bearer ${known}`) return answer;
  const token = await signIn(session).catch(() => undefined);
  if (!token) return answer;
  again.headers.set("Authorization", `Bearer ${token}`);
  return fetch(again);
};

async function show() {
  const stack = await findStack();
  let token = "";
  let hint = stack ? "" : `No stack serves this page. ${START}`;
  if (stack) {
    token = await signIn(stack.session).catch((error) => {
      hint = `${error.message} Or paste a token below: \`make -s token\` prints one.`;
      return "";
    });
  }
  document.getElementById("hint").textContent = hint;
  const api = stack ? location.origin + stack.api : "http://127.0.0.1:4566/v1";
  Scalar.createApiReference("#page", {
    content: document.getElementById("contract").textContent.replaceAll("https://address-of-the-api.invalid", api),
    servers: [{ url: api }],
    authentication: { preferredSecurityScheme: "accessToken", securitySchemes: { accessToken: { token } } },
    ...(token && { customFetch: sending(stack.session, token) }),
    hiddenClients: true, // the contract has samples
    documentDownloadType: "none",
    hideModels: true,
    hideTestRequestButton: !stack,
    // Nothing from elsewhere; the page's policy would refuse it.
    agent: { disabled: true },
    mcp: { disabled: true },
    hideClientButton: true,
    showDeveloperTools: "never",
    telemetry: false,
    withDefaultFonts: false,
  });
}

show();
