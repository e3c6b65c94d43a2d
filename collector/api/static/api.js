// The collector's API, as the page uses it: session cookie, one shape of error.
const PAGE = 1000;

export class Failed extends Error {
  constructor(status, body, retryAfter) {
    super(body?.error ?? `HTTP ${status}`);
    this.status = status;
    this.mend = body?.mend ?? "";
    this.retryAfter = retryAfter;
  }
}

async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: { "X-Nagari": "1", ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
  } catch (error) {
    throw new Failed(0, { error: String(error.message ?? error) });
  }
  const text = await answer.text();
  let found = null;
  try {
    found = text ? JSON.parse(text) : null;
  } catch {
    found = { error: `HTTP ${answer.status}` };
  }
  if (!answer.ok) throw new Failed(answer.status, found, Number(answer.headers.get("Retry-After")) || 0);
  return found;
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, v]) => v !== "" && v != null));

export const get = (path, values = {}) => call("GET", `${path}?${query(values)}`);
export const post = (path, body) => call("POST", path, body);
export const del = (path) => call("DELETE", path);

/** All pages of a list, one after the other; what else the first page says is kept. */
export async function all(path, name, values = {}, most = 5000) {
  const first = await get(path, { ...values, limit: PAGE });
  const rows = [...first[name]];
  let { next } = first;
  while (next !== null && rows.length < most) {
    const page = await get(path, { ...values, limit: PAGE, cursor: next });
    rows.push(...page[name]);
    next = page.next;
  }
  return { ...first, next, [name]: rows };
}

/** The map's areas as GeoJSON; the browser keeps them and asks only whether they are still the same. */
export async function boundaries() {
  const answer = await fetch("/api/v1/boundaries", { credentials: "same-origin", cache: "no-cache", signal: AbortSignal.timeout(30000) });
  if (!answer.ok) throw new Failed(answer.status, null, 0);
  return answer.json();
}
