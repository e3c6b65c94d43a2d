// The page: sign in, then keep the desk true to the collector.
import * as list from "./alerts.js";
import { all, del, get, post } from "./api.js";
import * as dialog from "./dialog.js";
import * as map from "./map.js";
import { $, kept, press, setText } from "./dom.js";
import { forgetRates, showHealth } from "./health.js";
import { clock, lang, loadWords, metricName, now, said, setNow, setZone, speak, t, translate, zoneName } from "./i18n.js";
import * as readings from "./readings.js";
import { Stream } from "./stream.js";

const ACT = ["operator", "engineer", "admin"];
const POLL_MS = 12000;
const MOST_SITES = 30000;
let who = null;
let sites = new Map();
let region = null;
let version = 0; // of the sites' standing, as far as we know it
let stats = null;
let lostSince = null;
let refreshed = 0;
let polled = 0;

const names = {
  site: (id) => sites.get(id)?.name ?? id,
  device: (id) => id,
  metric: (device, name) => readings.metricOf(device, name) ?? (name ? { name, unit: "" } : null),
};

const stream = new Stream({
  alert: (event) => {
    if (list.take(event)) setText($("news"), `${t("alerts.new")}: ${said(event.alert.summary)}`);
    if (event.alert) dialog.changed(event.alert.id);
  },
  reading: readings.take,
  stats: (figures) => {
    stats = figures;
    setNow(figures.now);
    showHealth(figures);
  },
  reset: () => sync(),
  live: () => {
    const again = lostSince !== null;
    lostSince = null;
    showLink("live");
    if (again) sync().then(readings.reload);
    if (again) polled = 0;
  },
  lost: (since) => {
    lostSince = since;
    forgetRates();
    showLink("lost");
  },
  ended: () => signedOut("signin.ended"),
});

function showLink(state) {
  const link = $("link");
  link.className = `link ${state}`;
  setText(link, t(`link.${state}`));
  document.body.classList.toggle("is-lost", state === "lost");
  $("lost").hidden = state !== "lost";
  setText($("lost"), state === "lost" ? t("lost", { time: clock(lostSince) }) : "");
}

/** The alerts as they are now; returns the point in the outbox from which the stream goes on. */
async function sync() {
  const [open, recent] = await Promise.all([all("/alerts", "alerts", { state: "open" }), get("/alerts", { state: "all", limit: 200 })]);
  const found = new Map([...recent.alerts, ...open.alerts].map((alert) => [alert.id, alert]));
  list.replaceAll([...found.values()]);
  return open.seq === undefined ? recent.seq : Math.min(open.seq, recent.seq);
}

async function enter() {
  who = await get("/session");
  const may = ACT.includes(who.role);
  dialog.allow(may);
  document.body.dataset.mayAct = may ? "yes" : "";
  $("signin").hidden = true;
  $("desk").hidden = false;
  showLink("wait");
  showWho();
  await showRegion();
  stream.start(await sync());
  await readings.showSites([...sites.values()], region.centre);
}

async function showRegion() {
  const found = await all("/sites", "sites", {}, null, MOST_SITES);
  sites = new Map(found.sites.map((site) => [site.id, site]));
  ({ region, version } = found);
  polled = Date.now();
  setZone(region.timezone);
  setText($("region"), region.name);
  try {
    await map.show(found.sites, found.next !== null);
  } catch (error) {
    console.error(error); // without a map the page must still tell every alert
  }
}

/** How the sites stand: only those that changed come. */
async function poll() {
  polled = Date.now();
  const found = await all("/sites", "sites", { since: version }, null, MOST_SITES);
  if (found.region.hash !== region.hash) {
    await showRegion();
    return readings.showSites([...sites.values()], region.centre);
  }
  version = found.version;
  for (const site of found.sites) Object.assign(sites.get(site.id) ?? {}, site);
  map.changed(found.sites);
}

/** A site was chosen: everything on the page turns to it. "" for none. */
function pick(id, { device, metric, fly = false, open = true } = {}) {
  map.choose(id, fly);
  list.mark(id);
  if (!id) return null;
  if (open) readings.open();
  return readings.show(id, device, metric);
}

function showWho() {
  if (who) setText($("who"), `${who.name} · ${t(`role.${who.role}`)}`);
}

function signedOut(why = "") {
  stream.stop();
  who = null;
  $("dialog").close();
  $("desk").hidden = true;
  $("signin").hidden = false;
  $("token").value = "";
  setText($("signin-error"), why ? t(why) : "");
  $("token").focus();
}

async function signIn(token) {
  try {
    await post("/session", { token });
    await enter();
  } catch (error) {
    signedOut();
    const why = { 401: "signin.wrong", 422: "signin.wrong", 429: "signin.locked", 0: "signin.unreachable" }[error.status];
    setText($("signin-error"), why ? t(why, { s: error.retryAfter }) : error.message);
  }
}

/** A token in the address (#token=…) is taken once, and leaves the address bar and the history at once. */
function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname);
  return token;
}

function relabel() {
  translate();
  press(document, "lang", lang);
  showWho();
  list.redraw();
  $("health").dataset.keys = "";
  if (stats) showHealth(stats);
  showLink(lostSince === null ? (stream.live ? "live" : "wait") : "lost");
  for (const button of $("metrics").children) setText(button.querySelector(".metric-name"), metricName(button.dataset.metric));
  map.redraw();
  readings.relabel();
  readings.draw();
}

function setTheme(name) {
  kept.set("theme", name);
  document.documentElement.dataset.theme = name;
  $("theme").querySelector("use").setAttribute("href", name === "dark" ? "#sun" : "#moon");
  map.redraw();
  readings.draw();
}

function tick() {
  setText($("clock"), clock(now()));
  setText($("zone"), zoneName());
  if (!who) return;
  list.tick();
  readings.tick();
  if (stream.live && Date.now() - refreshed > 15000) {
    refreshed = Date.now();
    readings.refresh().catch(() => {}); // the stream's watch tells when the collector is out of reach
  }
  if (stream.live && Date.now() - polled > POLL_MS) poll().catch(() => {});
}

/** Of a site: its standing, and in words what it is and what of it is heard. */
const siteWords = (site) => site && { site, standing: map.stand(site), words: map.describe(site, false) };

function openAlert(id) {
  dialog.open(id);
  const alert = list.find(id);
  pick(alert.site, { device: alert.device, metric: alert.metric || undefined, fly: true, open: false }).then(dialog.redraw, () => {});
}

async function main() {
  const light = matchMedia("(prefers-color-scheme: light)").matches;
  setTheme(kept.get("theme", light ? "light" : "dark"));
  await loadWords();
  speak(lang);
  list.setUp(names, openAlert);
  dialog.setUp(names);
  map.setUp((id) => pick(id));
  readings.setUp({ follow: (site) => stream.follow(site), pick: (id) => pick(id, { fly: true }), words: (id) => siteWords(sites.get(id)) });
  $("signin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    signIn($("token").value.trim());
  });
  $("signout").addEventListener("click", () => del("/session").catch(() => {}).finally(() => signedOut()));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-lang]");
    if (button && button !== document.documentElement) {
      speak(button.dataset.lang);
      relabel();
    }
  });
  relabel();
  setInterval(tick, 1000);
  const token = tokenFromAddress();
  if (token) return signIn(token);
  return enter().catch(() => signedOut());
}

main();
