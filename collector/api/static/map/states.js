// How a site stands, from its open alerts and from what its devices say. No DOM here.
import { isTodo, SEVERITIES } from "../alerts.js";

/** From the worst to the calmest. `returned`: back to normal, but nobody has acknowledged it, or it was put aside. */
export const STATES = [...SEVERITIES, "silent", "returned", "ok", "unknown", "bare"];

/** What may stand for several sites: the state, the shape it is drawn with, and whether somebody is waited for. */
export function standing(site, alerts) {
  const active = worst(alerts.filter((alert) => alert.condition === "active" && alert.holds.length === 0));
  if (active) return { state: active, shape: active, todo: alerts.some(isTodo), alerts: alerts.length };
  const calm = silence(site);
  const past = worst(alerts);
  if (past && calm !== "silent") return { state: "returned", shape: past, todo: false, alerts: alerts.length };
  return { state: calm, shape: calm, todo: false, alerts: alerts.length };
}

function worst(alerts) {
  return SEVERITIES.find((name) => alerts.some((alert) => alert.severity === name));
}

/** Without a fresh reading nothing is called good: either it fell silent, or it was never heard. */
function silence(site) {
  if (site.devices === 0) return "bare";
  if (site.heard > 0) return "ok";
  return site.presence.offline > 0 || site.silent > 0 ? "silent" : "unknown";
}

const rank = (standing) => STATES.indexOf(standing.state) * 2 - (standing.todo ? 1 : 0);

/** The standing that must be seen first. */
export const worstOf = (standings) => standings.reduce((a, b) => (rank(b) < rank(a) ? b : a));
