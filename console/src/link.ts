/** The address of the next page (RFC 8288), relative to the request's own; always the API's. */
export function nextLink(header: string | null, url: string): string | undefined {
  const target = /<([^>]*)>\s*;[^,]*\brel="?next"?/.exec(header ?? "")?.[1];
  if (target === undefined) return undefined;
  const next = new URL(target, url);
  return next.origin === new URL(url).origin ? next.pathname + next.search : undefined;
}
