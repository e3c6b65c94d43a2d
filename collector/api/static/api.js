// The collector's API, as the page uses it: session cookie, one shape of error, and an end to every wait.
import { t } from "./i18n.js";

const PAGE = 1000;
const WAIT_S = 15;

export class Failed extends Error {
  constructor(status, body, retryAfter) {
    super(body?.error ?? `HTTP ${status}`);
    this.status = status;
    this.mend = body?.mend ?? "";
    this.retryAfter = retryAfter;
  }
}

/** Why it failed, in the operator's words where it is a matter of the connection. `status` is 0 then. */
export function why(error) {
  if (error.status) return error.message;
  return error.cause?.name === "TimeoutError" ? t("error.timeout", { s: WAIT_S }) : t("error.unreachable");
}

/** Ends of itself after WAIT_S seconds, and with `signal`, whose reason it then throws. */
async function call(method, path, body, signal = null) {
  const limit = AbortSignal.timeout(WAIT_S * 1000);
  let answer, text;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: { "X-Nagari": "1", ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      credentials: "same-origin",
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    text = await answer.text();
  } catch (error) {
    signal?.throwIfAborted();
    throw Object.assign(new Failed(0, { error: String(error.message ?? error) }), { cause: error });
  }
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

export const get = (path, values = {}, signal = null) => call("GET", `${path}?${query(values)}`, undefined, signal);
export const post = (path, body) => call("POST", path, body);
export const del = (path) => call("DELETE", path);

/** All pages of a list, one after the other; what else the first page says is kept. */
export async function all(path, name, values = {}, signal = null, most = 5000) {
  const first = await get(path, { ...values, limit: PAGE }, signal);
  const rows = [...first[name]];
  let { next } = first;
  while (next !== null && rows.length < most) {
    const page = await get(path, { ...values, limit: PAGE, cursor: next }, signal);
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
