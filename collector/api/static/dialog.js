// One alert in full: facts, what may be done about it, and its trail.
import { get, post, why } from "./api.js";
import { began, find, isOpen, isTodo, stateOf } from "./alerts.js";
import { $, el, setText } from "./dom.js";
import { metricName, quantity, said, t, when } from "./i18n.js";

const SHELVE_S = [900, 3600, 4 * 3600, 8 * 3600, 24 * 3600];
let shown = null;
let mayAct = false;
let names;
let wanted = "ack";

export function setUp(given) {
  names = given;
  const dialog = $("dialog");
  $("dialog-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => (shown = null));
  $("dialog-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter?.value ?? wanted);
  });
  $("comment").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) act(wanted);
  });
}

export function allow(may) {
  mayAct = may;
}

export function open(id) {
  shown = id;
  $("comment").value = "";
  setText($("dialog-error"), "");
  $("shelve-for").replaceChildren(...SHELVE_S.map((s) => el("option", { value: String(s) }, span(s))));
  $("trail").replaceChildren();
  draw();
  $("dialog").showModal();
  (mayAct && !$("dialog-act").hidden ? $("comment") : $("dialog-close")).focus();
  loadTrail();
}

const span = (s) => (s < 3600 ? t("m", { n: s / 60 }) : t("h", { n: s / 3600 }));

/** The metrics' units may have come in meanwhile. */
export function redraw() {
  if (shown) draw();
}

/** Called when the stream changed an alert: the open dialog follows. */
export function changed(id) {
  if (id !== shown) return;
  draw();
  loadTrail();
}

function draw() {
  const alert = find(shown);
  if (!alert) return;
  $("dialog-mark").setAttribute("href", `#${alert.severity}`);
  $("dialog-mark").parentNode.setAttribute("class", `mark ${alert.severity}`);
  setText($("dialog-title"), said(alert.summary) || alert.rule);
  $("dialog-facts").replaceChildren(...facts(alert).flatMap(([k, v]) => [el("dt", {}, t(`fact.${k}`)), el("dd", {}, v)]));
  buttons(alert);
}

function facts(alert) {
  const metric = names.metric(alert.device, alert.metric);
  const list = [
    ["state", `${t(`severity.${alert.severity}`)} · ${stateOf(alert)}`],
    ["site", names.site(alert.site)],
    ["device", alert.device],
    ["metric", metricName(alert.metric)],
    ["since", when(began(alert))],
    ["rule", alert.rule],
  ];
  if (alert.metric && alert.value !== null) list.splice(4, 0, ["value", quantity(alert.value, metric)]);
  if (alert.assignee) list.push(["assignee", alert.assignee]);
  return list;
}

function buttons(alert) {
  const shelved = alert.holds.includes("shelved");
  const can = {
    "act-ack": isOpen(alert) && !alert.acked,
    "act-unack": isOpen(alert) && alert.acked,
    "act-comment": isOpen(alert),
    "act-shelve-group": isOpen(alert) && !shelved,
    "act-unshelve": shelved,
  };
  for (const [id, may] of Object.entries(can)) $(id).hidden = !may;
  wanted = can["act-ack"] ? "ack" : "comment";
  $("act-ack").classList.toggle("primary", isTodo(alert) || can["act-ack"]);
  $("dialog-act").hidden = !mayAct || !Object.values(can).some(Boolean);
}

async function act(name) {
  const comment = $("comment").value.trim();
  if (name === "comment" && !comment) {
    setText($("dialog-error"), t("act.comment_needed"));
    $("comment").focus();
    return;
  }
  const id = shown;
  const body = { comment };
  if (name === "shelve") body.seconds = Number($("shelve-for").value);
  setText($("dialog-error"), "");
  busy(true);
  try {
    await post(`/alerts/${encodeURIComponent(id)}/${name}`, body);
    $("comment").value = "";
    setText($("dialog-error"), "");
    if (name === "ack" || name === "shelve") $("dialog").close();
  } catch (error) {
    setText($("dialog-error"), t(failure(error), { error: why(error) }));
  } finally {
    busy(false);
  }
}

/** Without an answer nobody knows whether it was done. */
const failure = ({ status }) => (status === 409 ? "act.refused" : status === 0 ? "act.unsure" : "act.failed");

function busy(is) {
  for (const button of $("dialog-act").querySelectorAll("button")) button.disabled = is;
}

async function loadTrail() {
  const id = shown;
  let steps = [];
  try {
    steps = (await get(`/alerts/${encodeURIComponent(id)}/trail`)).trail;
  } catch (error) {
    setText($("dialog-error"), t("act.failed", { error: why(error) }));
  }
  if (id !== shown) return;
  const list = steps.map(step).reverse();
  $("trail").replaceChildren(...(list.length ? list : [el("li", { className: "hint" }, t("trail.none"))]));
}

function step(row) {
  return el(
    "li",
    { className: row.kind },
    el("time", {}, when(row.at)),
    el("div", {}, el("b", {}, t(`kind.${row.kind}`)), row.by ? ` · ${row.by}` : "", row.comment ? el("q", {}, row.comment) : null),
  );
}
