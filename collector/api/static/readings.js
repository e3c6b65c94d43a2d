// A device's readings: pick a site, a device, a metric; the chart follows live.
import { all, get, why } from "./api.js";
import { $, el, kept, press, setText, shape } from "./dom.js";
import { ago, getZone, metricName, now, number, quantity, t } from "./i18n.js";

const DAY_STEP_MS = 120000;
const DAY_REFRESH_MS = 60000;
const HOUR_S = 3600;
const PRESENCE = { online: "ok", offline: "off", unknown: "unknown" };

let devices = [];
let shown = ""; // the site
let device = null;
let metric = null;
let range = Number(kept.get("range", HOUR_S)) === 86400 ? 86400 : HOUR_S;
let on; // follow(site), pick(site), words(site): what the page does about a site
let rows = [[], []]; // times in s, values; for a day also the lowest and the highest
let plot = null;
let reading = new AbortController(); // ends what is still asked for about the site shown before
let drawing = new AbortController(); // and about the series shown before
let loaded = 0;

export function setUp(given) {
  on = given;
  $("site").addEventListener("change", (event) => on.pick(event.target.value));
  $("devices").addEventListener("click", (event) => chooseDevice(event.target.closest("button")?.dataset.device));
  $("readings-open").addEventListener("click", () => open($("readings").classList.contains("shut"), true));
  // On a screen that is not high the map comes first; the readings open as soon as a site is chosen.
  open(kept.get("readings", matchMedia("(max-height: 850px), (max-width: 900px)").matches ? "shut" : "open") === "open");
  $("ranges").addEventListener("click", (event) => chooseRange(Number(event.target.dataset.range)));
  $("metrics").addEventListener("click", (event) => chooseMetric(event.target.closest("button")?.dataset.metric));
  new ResizeObserver(resize).observe($("chart"));
}

/** Show the panel, or with false only its head; `keep` it so the next time. */
export function open(wide = true, keep = false) {
  $("readings").classList.toggle("shut", !wide);
  $("readings-open").setAttribute("aria-expanded", String(wide));
  if (keep) kept.set("readings", wide ? "open" : "shut");
}

export const metricOf = (id, name) => devices.find((d) => d.id === id)?.metrics.find((m) => m.name === name) ?? null;

export async function showSites(sites, first) {
  const withDevices = sites.filter((site) => site.devices > 0).sort((a, b) => a.name.localeCompare(b.name, "id"));
  $("site").replaceChildren(...withDevices.map((site) => el("option", { value: site.id }, site.name)));
  const wanted = kept.get("site", first);
  const start = withDevices.find((site) => site.id === wanted) ?? withDevices.find((site) => site.id === first) ?? withDevices[0];
  if (start) await chooseSite(start.id);
}

/** Show one series; from an alert, for instance. */
export async function show(site, deviceId, name) {
  if (shown !== site || devices.length === 0) await chooseSite(site, deviceId, name);
  else if (deviceId) chooseDevice(deviceId, name);
}

/** Nothing of the site before stays under this one's name, not even while its own devices are on their way. */
async function chooseSite(id, wantedDevice = kept.get("device", ""), wantedMetric = kept.get("metric", "")) {
  shown = id;
  $("site").value = id; // stays empty for a site without devices, which the list does not offer
  kept.set("site", id);
  on.follow(id);
  empty(t("readings.loading"));
  const mine = renew();
  try {
    devices = await devicesOf(id, mine);
  } catch (error) {
    if (!mine.aborted) empty(t("readings.unread", { error: why(error) }));
    return;
  }
  begin(wantedDevice, wantedMetric);
}

function renew() {
  reading.abort();
  reading = new AbortController();
  return reading.signal;
}

/** Throws also when the answer came but another site has been chosen meanwhile. */
async function devicesOf(site, signal) {
  const found = (await all("/devices", "devices", { site }, signal)).devices;
  signal.throwIfAborted();
  return found;
}

function begin(wantedDevice = kept.get("device", ""), wantedMetric = kept.get("metric", "")) {
  drawDevices();
  const some = devices.find((d) => d.id === wantedDevice) ?? devices.find((d) => d.metrics.some((m) => m.at)) ?? devices[0];
  if (some) chooseDevice(some.id, wantedMetric);
  else empty(t("readings.no_devices"));
}

function empty(words) {
  drawing.abort();
  devices = [];
  device = metric = null;
  drawDevices();
  $("metrics").replaceChildren();
  setText($("chart-title"), "");
  clear(words);
}

function chooseDevice(id, wanted = metric?.name) {
  const found = devices.find((d) => d.id === id);
  if (!found) return;
  device = found;
  press($("devices"), "device", id);
  kept.set("device", id);
  drawMetrics();
  const asked = device.metrics.find((m) => m.name === wanted);
  const start = asked?.at ? asked : (device.metrics.find((m) => m.at) ?? asked ?? device.metrics[0]);
  chooseMetric(start?.name);
}

/** The site's devices, each with its presence in shape and words. */
function drawDevices() {
  $("devices").replaceChildren(
    ...devices.map((d) =>
      el(
        "button",
        { type: "button", className: `device ${d.presence}`, "data-device": d.id, title: `${d.id} · ${t(`presence.${d.presence}`)}` },
        shape(PRESENCE[d.presence]),
        el("span", { className: "device-id" }, d.id),
        el("span", { className: "device-kind" }, d.kind, el("span", { className: "unseen" }, `, ${t(`presence.${d.presence}`)}`)),
      ),
    ),
  );
  press($("devices"), "device", device?.id);
  drawPlace();
}

function drawPlace() {
  const found = on.words(shown);
  if (!found) return;
  setText($("place-name"), found.site.name);
  $("place-name").title = found.site.name;
  setText($("place-words"), found.words);
  $("place-mark").setAttribute("href", `#${found.standing.shape}`);
  $("place-mark").parentNode.setAttribute("class", `mark ${found.standing.shape} ${found.standing.state === "returned" ? "soft" : ""}`);
}

function chooseMetric(name) {
  const found = device?.metrics.find((m) => m.name === name);
  if (!found) return;
  metric = found;
  kept.set("metric", name);
  press($("metrics"), "metric", name);
  load();
}

function chooseRange(seconds) {
  if (!seconds || !metric) return;
  range = seconds;
  kept.set("range", seconds);
  load();
}

function drawMetrics() {
  $("metrics").replaceChildren(
    // What never came stands last: it must not push the chart away.
    ...[...device.metrics].sort((a, b) => Boolean(b.received) - Boolean(a.received)).map((m) =>
      el(
        "button",
        { type: "button", className: "metric", "data-metric": m.name, title: m.name },
        el("span", { className: "metric-name" }, metricName(m.name)),
        el("span", { className: "metric-value" }),
        el("span", { className: "metric-age" }),
      ),
    ),
  );
  press($("metrics"), "metric", metric?.name);
  tick();
}

/** Ages and values, once a second. */
export function tick() {
  drawPlace();
  if (!device) return;
  for (const button of $("metrics").children) {
    const m = device.metrics.find((one) => one.name === button.dataset.metric);
    setText(button.querySelector(".metric-value"), quantity(m.value, m));
    setText(button.querySelector(".metric-age"), m.received ? ago(m.received) : t("never"));
    button.classList.toggle("stale", m.stale);
    button.classList.toggle("never", !m.received);
  }
  title();
  if (range !== HOUR_S && Date.now() - loaded > DAY_REFRESH_MS) load();
}

function title() {
  if (!metric) return;
  const last = metric.received ? t("readings.last", { value: quantity(metric.value, metric), age: ago(metric.received) }) : t("never");
  setText($("chart-title"), `${metricName(metric.name)} · ${device.id} · ${last}`);
}

/** The site's devices anew: presence and staleness are the collector's to judge. */
export async function refresh() {
  if (!shown) return;
  const found = await devicesOf(shown, reading.signal);
  const looks = (list) => list.map((d) => `${d.id} ${d.presence}`).join();
  const unchanged = looks(found) === looks(devices);
  devices = found;
  if (!device) return begin();
  if (!unchanged) drawDevices();
  const same = devices.find((d) => d.id === device?.id);
  if (!same) return;
  const before = device.metrics.map((m) => m.name).join();
  device = same;
  metric = device.metrics.find((m) => m.name === metric?.name) ?? metric;
  if (device.metrics.map((m) => m.name).join() !== before) drawMetrics();
  else tick();
}

/** A reading from the stream. */
export function take(fresh) {
  const found = fresh.site === shown && metricOf(fresh.device, fresh.metric);
  if (!found) return;
  Object.assign(found, { value: fresh.value, at: fresh.t, received: fresh.received, stale: false });
  if (device?.id !== fresh.device || metric?.name !== fresh.metric || range !== HOUR_S) return;
  const s = fresh.t / 1000;
  if (rows[0].length && s <= rows[0].at(-1)) return;
  const all = [[...rows[0], s], [...rows[1], fresh.value]];
  const first = all[0].findIndex((time) => time > s - range);
  rows = all.map((column) => column.slice(Math.max(0, first)));
  if (plot) paint();
  else draw();
}

/** After a change of language. */
export function relabel() {
  if (devices.length) drawDevices();
  tick();
}

/** Once more from the store, after a time without connection. */
export const reload = () => metric && load();

async function load() {
  press($("ranges"), "range", range);
  title();
  drawing.abort();
  drawing = new AbortController();
  const { signal } = drawing;
  loaded = Date.now();
  const to = Math.round(now()) + 10000;
  const ask = { site: device.site, device: device.id, metric: metric.name, from: to - range * 1000, to };
  try {
    const found = range === HOUR_S ? await raw(ask, signal) : await banded(ask, signal);
    if (signal.aborted) return;
    rows = found;
  } catch (error) {
    if (!signal.aborted) clear(t("readings.failed", { error: why(error) }));
    return;
  }
  // What came last may be on its way into the store still.
  const last = metricOf(device.id, metric.name);
  if (rows[0].length === 0 && range === HOUR_S && last?.at >= ask.from) rows = [[last.at / 1000], [last.value]];
  if (rows[0].length === 0) clear(t("readings.none"));
  else draw();
}

const columns = (points) => [points.map(([ms]) => ms / 1000), points.map(([, value]) => value)];

async function raw(ask, signal) {
  return columns((await get("/series", ask, signal)).points);
}

async function banded(ask, signal) {
  const one = async (agg) => columns((await get("/series", { ...ask, step: DAY_STEP_MS, agg }, signal)).points);
  const [mean, low, high] = await Promise.all(["mean", "min", "max"].map(one));
  const at = ([times, values]) => new Map(times.map((time, n) => [time, values[n]]));
  const lows = at(low);
  const highs = at(high);
  return [...mean, mean[0].map((time) => lows.get(time) ?? null), mean[0].map((time) => highs.get(time) ?? null)];
}

function clear(why) {
  plot?.destroy();
  plot = null;
  rows = [[], []];
  setText($("chart-note"), why);
}

/** Where nothing came for long the line breaks: a straight line over an outage would be a lie. */
function broken(data) {
  const times = data[0];
  const steps = times.slice(1).map((time, n) => time - times[n]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 60;
  const out = data.map(() => []);
  times.forEach((time, n) => {
    if (n && time - times[n - 1] > Math.max(usual * 4, 5)) {
      out.forEach((column, c) => column.push(c ? null : times[n - 1] + usual));
    }
    out.forEach((column, c) => column.push(data[c][n]));
  });
  return out;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function draw() {
  if (!metric || rows[0].length === 0) return;
  plot?.destroy();
  const box = $("chart");
  plot = new uPlot(options(box), broken(rows), box);
  setText($("chart-note"), `${range === HOUR_S ? "" : `${t("readings.day_note")} `}${t("readings.gap_note")}`);
}

function paint() {
  if (plot) plot.setData(broken(rows));
}

function resize() {
  const box = $("chart");
  if (plot && box.clientWidth) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
}

function options(box) {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const line = colour("--accent");
  const band = range !== HOUR_S;
  const faint = { stroke: "transparent", points: { show: false } };
  return {
    width: box.clientWidth,
    height: box.clientHeight,
    tzDate: (s) => uPlot.tzDate(new Date(s * 1000), getZone()),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 7 } },
    padding: [10, 18, 0, 0],
    scales: { x: { time: true, range: () => bounds() }, y: { range: (_, low, high) => spread(low, high) } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(hour), space: 64, size: 30 },
      { ...axis, values: (_, ticks) => ticks.map((v) => label(v)), size: 64, space: 36 },
    ],
    series: [
      {},
      { stroke: line, width: 1.75, spanGaps: false, points: { show: rows[0].length < 40, size: 5, fill: line }, paths: metric.boolean ? uPlot.paths.stepped({ align: 1 }) : undefined },
      ...(band ? [faint, faint] : []),
    ],
    bands: band ? [{ series: [3, 2], fill: colour("--band") }] : [],
    plugins: [tip()],
  };
}

function bounds() {
  const end = Math.max(now() / 1000, rows[0].at(-1) ?? 0);
  return [end - range, end];
}

function spread(low, high) {
  if (low === null || high === null) return [0, 1];
  if (metric.boolean) return [-0.1, 1.1];
  const pad = (high - low) * 0.12 || Math.abs(high) * 0.05 || 1;
  return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
}

function hour(s) {
  return new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: getZone() }).format(s * 1000);
}

function label(value) {
  if (metric.boolean) return value === 0 ? t("no") : value === 1 ? t("yes") : "";
  if (metric.unit === "bit/s") return quantity(value, metric);
  return number(value, 3);
}

/** The value under the pointer, in words. */
function tip() {
  const node = el("p", { className: "tip", hidden: true });
  return {
    hooks: {
      init: (u) => u.over.append(node),
      setCursor: (u) => {
        const n = u.cursor.idx;
        const value = n === null || n === undefined ? null : u.data[1][n];
        node.hidden = value === null || value === undefined;
        if (node.hidden) return;
        setText(node, `${hour(u.data[0][n])} · ${quantity(value, metric)}`);
        const left = u.valToPos(u.data[0][n], "x");
        node.style.left = `${Math.min(Math.max(left, 60), u.over.clientWidth - 60)}px`;
      },
    },
  };
}
