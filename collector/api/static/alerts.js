// The alert list: kept by id, ordered by what an operator must see first.
import { $, el, kept, press, setText, shape } from "./dom.js";
import { ago, quantity, said, t, when } from "./i18n.js";

export const SEVERITIES = ["critical", "major", "minor", "warning"];
const SHOWN = 200;
const KEPT = 2000;

const alerts = new Map();
const rows = new Map(); // id -> { node, drawn }: a row is drawn again only when it changed
let view = kept.get("view", "open");
const hidden = new Set();
let needle = "";
let names = { site: (id) => id, device: () => "", metric: () => null };
let open = () => {};
let watcher = () => {};
let here = ""; // the site whose alerts are marked
let only = false; // and whether they alone are listed

export const isOpen = (alert) => alert.condition === "active" || (!alert.acked && alert.count > 0);
export const isTodo = (alert) => isOpen(alert) && !alert.acked && alert.holds.length === 0;

export function setUp(given, onOpen) {
  names = given;
  open = onOpen;
  $("views").addEventListener("click", (event) => choose(event.target.dataset.view));
  $("search").addEventListener("input", (event) => {
    needle = event.target.value.trim().toLowerCase();
    draw();
  });
  $("only").addEventListener("click", () => {
    only = !only;
    draw();
  });
  buildSeverities();
}

/** `listener` is called whenever an alert may have changed. */
export function watch(listener) {
  watcher = listener;
}

/** Every alert that is open, whatever the list shows of them. */
export const openOnes = () => [...alerts.values()].filter(isOpen);

/** Mark the alerts of a site ("" of none), and bring the first of them into view. */
export function mark(site) {
  here = site;
  only = only && site !== "";
  draw();
  const list = $("alerts");
  const first = list.querySelector(".here");
  if (first && list.scrollHeight > list.clientHeight) list.scrollTop = first.offsetTop - list.offsetTop - 40;
}

function choose(name) {
  if (!name) return;
  view = name;
  kept.set("view", name);
  draw();
}

export function buildSeverities() {
  $("severities").replaceChildren(
    ...SEVERITIES.map((name) => {
      const count = el("span", { className: "count", "data-count": name });
      const button = el("button", { type: "button", className: `chip ${name}` }, shape(name), t(`severity.${name}`), count);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      button.addEventListener("click", () => {
        if (!hidden.delete(name)) hidden.add(name);
        button.setAttribute("aria-pressed", String(!hidden.has(name)));
        draw();
      });
      return button;
    }),
  );
}

export const find = (id) => alerts.get(id);

export function replaceAll(list) {
  alerts.clear();
  for (const alert of list) alerts.set(alert.id, alert);
  draw();
  watcher();
}

/** What the stream says; returns whether it is news that must be told aloud. */
export function take(event) {
  const alert = event.alert;
  if (!alert) return false;
  if (event.kind === "withdrawn" || event.kind === "retired") alerts.delete(alert.id);
  else alerts.set(alert.id, alert);
  forgetOldest();
  draw(event.kind === "raised" ? alert.id : null);
  watcher();
  const back = event.kind === "unshelved" && alert.condition === "active";
  return alert.holds.length === 0 && (event.kind === "raised" || back);
}

function forgetOldest() {
  if (alerts.size <= KEPT) return;
  const done = [...alerts.values()].filter((alert) => !isOpen(alert)).sort((a, b) => a.at - b.at);
  for (const alert of done.slice(0, alerts.size - KEPT)) alerts.delete(alert.id);
}

function order(a, b) {
  const rank = (alert) => (isTodo(alert) ? 0 : isOpen(alert) ? 10 : 20) + SEVERITIES.indexOf(alert.severity);
  return view === "all" ? b.at - a.at : rank(a) - rank(b) || b.at - a.at;
}

function matches(alert) {
  if (hidden.has(alert.severity) || (only && alert.site !== here)) return false;
  if (!needle) return true;
  const text = [said(alert.summary), names.site(alert.site), alert.site, alert.device, alert.rule, alert.metric];
  return text.join("\n").toLowerCase().includes(needle);
}

export function draw(fresh = null) {
  const shown = { open: isOpen, todo: isTodo, all: (alert) => alert.condition !== "pending" || isOpen(alert) }[view] ?? isOpen;
  const inView = [...alerts.values()].filter(shown);
  const found = inView.filter(matches).sort(order);
  press($("views"), "view", view);
  offerOnly();
  counts();
  place(found.slice(0, SHOWN), fresh);
  const none = found.length === 0;
  $("none").hidden = !none;
  setText($("none"), none ? t(inView.length ? "alerts.none.filtered" : `alerts.none.${view}`) : "");
  $("more").hidden = found.length <= SHOWN;
  setText($("more"), found.length > SHOWN ? t("alerts.more", { n: found.length - SHOWN }) : "");
}

function offerOnly() {
  $("only").hidden = here === "";
  $("only").setAttribute("aria-pressed", String(only));
  setText($("only"), here ? t("alerts.only", { site: names.site(here) }) : "");
}

function counts() {
  const open = [...alerts.values()].filter(isOpen);
  for (const node of $("severities").querySelectorAll("[data-count]")) {
    setText(node, String(open.filter((alert) => alert.severity === node.dataset.count).length));
  }
  const todo = open.filter(isTodo).length;
  document.title = todo ? `(${todo}) Nagari` : "Nagari";
}

function place(list, fresh) {
  const holder = $("alerts");
  const keep = new Set(list.map((alert) => alert.id));
  for (const [id, row] of rows) {
    if (keep.has(id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  list.forEach((alert, n) => {
    const node = rowOf(alert, fresh === alert.id);
    if (holder.children[n] !== node) holder.insertBefore(node, holder.children[n] ?? null);
  });
}

function rowOf(alert, isNew) {
  let row = rows.get(alert.id);
  if (!row) {
    row = { node: el("li"), drawn: null };
    rows.set(alert.id, row);
    row.node.addEventListener("click", (event) => open(alert.id, event.target.closest(".ack") !== null));
  }
  if (row.drawn !== alert) {
    const focused = row.node.contains(document.activeElement);
    row.drawn = alert;
    fill(row.node, alert);
    if (focused) row.node.querySelector(".summary").focus();
    if (isNew) flash(row.node);
  }
  row.node.classList.toggle("here", alert.site === here);
  return row.node;
}

function flash(node) {
  node.classList.add("fresh");
  setTimeout(() => node.classList.remove("fresh"), 4000);
}

function fill(node, alert) {
  const metric = names.metric(alert.device, alert.metric);
  const summary = said(alert.summary) || alert.rule;
  node.className = `alert ${alert.severity} ${isTodo(alert) ? "todo" : ""} ${alert.condition} ${isOpen(alert) ? "" : "over"}`;
  node.dataset.id = alert.id;
  const severity = el("span", { className: "severity" }, shape(alert.severity), el("span", {}, t(`severity.${alert.severity}`)));
  const facts = [el("b", {}, names.site(alert.site)), el("span", {}, alert.device)];
  if (alert.metric && alert.value !== null && !said(alert.summary)) facts.push(el("span", {}, quantity(alert.value, metric)));
  if (alert.count > 1) facts.push(el("span", { className: "again" }, t("alerts.count", { n: alert.count })));
  const age = el("time", { className: "age", title: when(began(alert)), "data-at": began(alert) }, ago(began(alert)));
  node.replaceChildren(
    severity,
    el("div", { className: "body" }, opener(summary), el("p", { className: "facts-line" }, ...facts)),
    el("div", { className: "standing" }, el("span", { className: "state" }, stateOf(alert)), age),
    el("div", { className: "act" }, mayAck(alert) ? el("button", { type: "button", className: "ack" }, t("act.ack")) : null),
  );
}

const mayAck = (alert) => isTodo(alert) && document.body.dataset.mayAct === "yes";

function opener(summary) {
  const label = t("alerts.open", { summary });
  return el("button", { type: "button", className: "summary", "aria-label": label }, summary);
}

export const began = (alert) => (alert.condition === "cleared" ? alert.cleared_at : alert.raised_at) ?? alert.at;

export function stateOf(alert) {
  if (alert.state === "shelved" && alert.shelved_until) {
    return t("state.shelved_until", { time: when(alert.shelved_until) });
  }
  return t(`state.${alert.state}`);
}

export function redraw() {
  for (const row of rows.values()) row.drawn = null;
  buildSeverities();
  draw();
}

export function tick() {
  for (const node of $("alerts").querySelectorAll(".age")) setText(node, ago(Number(node.dataset.at)));
}
