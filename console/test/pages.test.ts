import assert from "node:assert/strict";
import { test } from "node:test";
import { csv } from "../src/csv.ts";
import { nextLink } from "../src/link.ts";
import { href, parseRoute } from "../src/router.ts";

const AT = "https://api.example.com/v1/orders?limit=2";

test("the next page is where Link says, relative to the request", () => {
  assert.equal(nextLink('<orders?limit=2&cursor=abc>; rel="next"', AT), "/v1/orders?limit=2&cursor=abc");
  assert.equal(nextLink("</v1/orders?cursor=x>; rel=next", AT), "/v1/orders?cursor=x");
  assert.equal(nextLink('<a>; rel="prev", <orders?cursor=y>; rel="next"', AT), "/v1/orders?cursor=y");
});

test("there is no next page without a Link, nor on another host", () => {
  assert.equal(nextLink(null, AT), undefined);
  assert.equal(nextLink('<a>; rel="prev"', AT), undefined);
  assert.equal(nextLink('<https://evil.example.com/v1/orders>; rel="next"', AT), undefined);
});

test("an address leads back to what it was made of", () => {
  const path = ["stock", "a/b?c#d e%"];
  assert.deepEqual(parseRoute(href(path, { from: "2026-11-20T00:00:00Z", status: undefined })), {
    path,
    query: { from: "2026-11-20T00:00:00Z" },
  });
  assert.deepEqual(parseRoute("#/orders/%"), { path: ["orders", "%"], query: {} });
  assert.deepEqual(parseRoute(""), { path: [], query: {} });
});

test("a spreadsheet takes no text for a formula", () => {
  const cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "alice"];
  assert.equal(csv([cells]), "'=1+1,'+1,'-1,'@SUM(A1),'\tx,alice\r\n");
});

test("texts are quoted where they have to be, numbers stay numbers", () => {
  assert.equal(csv([['a"b', "c,d", "e\nf", -1.5]]), '"a""b","c,d","e\nf",-1.5\r\n');
});
