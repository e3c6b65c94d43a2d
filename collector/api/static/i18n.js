// Words, numbers and times in the chosen language and the region's time zone.
import { kept } from "./dom.js";

const LANGUAGES = ["id", "en"];
const words = {};
let zone = "Asia/Jakarta";
let skew = 0; // the collector's clock minus this machine's, ms
export let lang = LANGUAGES.includes(kept.get("lang", "id")) ? kept.get("lang", "id") : "id";

export async function loadWords() {
  const load = async (name) => {
    words[name] = await (await fetch(`/static/i18n/${name}.json`)).json();
  };
  await Promise.all(LANGUAGES.map(load));
}

export function speak(language) {
  lang = language;
  kept.set("lang", language);
  document.documentElement.lang = language;
}

export function t(key, values = {}) {
  const text = words[lang]?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const has = (key) => key in (words[lang] ?? {});

/** Fill every element that carries data-t, data-t-label or data-t-placeholder. */
export function translate(root = document) {
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll("[data-t-label]")) {
    node.setAttribute("aria-label", t(node.dataset.tLabel));
    if (node.tagName === "BUTTON") node.title = t(node.dataset.tLabel);
  }
  for (const node of root.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.dataset.tPlaceholder);
}

/** A summary in the chosen language; the other one is better than none. */
export const said = (summary) => summary?.[lang] || summary?.id || summary?.en || "";

export function setZone(name) {
  zone = name;
}

export const getZone = () => zone;

/** Learn the collector's clock, so that ages are right on a machine whose own clock is wrong. */
export function setNow(collectorMs) {
  skew = collectorMs - Date.now();
}

export const now = () => Date.now() + skew;

const locale = () => (lang === "id" ? "id-ID" : "en-GB");

export function clock(ms, seconds = true) {
  const parts = { hour: "2-digit", minute: "2-digit", timeZone: zone, hourCycle: "h23" };
  if (seconds) parts.second = "2-digit";
  return new Intl.DateTimeFormat(locale(), parts).format(ms);
}

/** The hour if it was today, else with the date. */
export function when(ms) {
  const day = (value) => new Intl.DateTimeFormat("en-CA", { timeZone: zone }).format(value);
  if (day(ms) === day(now())) return clock(ms);
  const date = new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short", timeZone: zone }).format(ms);
  return `${date} ${clock(ms, false)}`;
}

export function zoneName() {
  const known = { "Asia/Jakarta": "WIB", "Asia/Makassar": "WITA", "Asia/Jayapura": "WIT" };
  return known[zone] ?? zone;
}

export function ago(ms) {
  const s = Math.max(0, Math.round((now() - ms) / 1000));
  if (s < 5) return t("now");
  const [unit, n] = s < 60 ? ["s", s] : s < 3600 ? ["m", s / 60] : s < 86400 ? ["h", s / 3600] : ["d", s / 86400];
  return t("ago", { span: t(unit, { n: Math.floor(n) }) });
}

const formats = new Map(); // to make one costs a thousand times as much as to use it

export function number(value, digits = 0) {
  const key = `${lang} ${digits}`;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }));
  return formats.get(key).format(value);
}

/** A reading with its unit, as a person would write it. */
export function quantity(value, metric) {
  if (value === null || value === undefined) return "–";
  if (metric?.boolean) return t(value ? "yes" : "no");
  const unit = metric?.unit ?? "";
  if (unit === "bit/s") return bits(value);
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 1 : 2;
  return unit ? `${number(value, digits)} ${unit}` : number(value, digits);
}

function bits(value) {
  const scale = [[1e9, "Gbit/s"], [1e6, "Mbit/s"], [1e3, "kbit/s"], [1, "bit/s"]];
  const [size, name] = scale.find(([least]) => Math.abs(value) >= least) ?? scale[3];
  return `${number(value / size, 1)} ${name}`;
}

export function metricName(name) {
  if (!name) return t("device_itself");
  return has(`metric.${name}`) ? t(`metric.${name}`) : name;
}
