// The strip on top: is the way from the field to this page whole?
import { $, el, setText, shape } from "./dom.js";
import { has, number, t } from "./i18n.js";

const PARTS = ["mqtt", "journal", "store", "alarms"]; // always shown; other parts only in trouble
let before = null;
let rates = { values: null };

export function showHealth(stats) {
  rate(stats);
  const others = Object.keys(stats.health).filter((name) => !PARTS.includes(name) && stats.health[name] !== "ok");
  const parts = [...PARTS.filter((name) => name in stats.health), ...others];
  const tiles = parts.map((name) => part(name, stats.health[name]));
  tiles.push(figure("health.rate", stats.rate_60s, 1), figure("health.values", rates.values, 0));
  tiles.push(figure("health.in_flight", stats.in_flight, 0), figure("health.quarantined", stats.quarantined, 0));
  if (stats.dropped) tiles.push(figure("health.dropped", stats.dropped, 0, true));
  if (typeof stats.storage_used_pct === "number") {
    tiles.push(figure("health.storage", stats.storage_used_pct, 1, stats.storage_alarm === 1));
  }
  draw(tiles);
}

export function forgetRates() {
  before = null;
  rates = { values: null };
}

function rate(stats) {
  if (before && stats.now > before.now) {
    const seconds = (stats.now - before.now) / 1000;
    for (const name of Object.keys(rates)) {
      const fresh = Math.max(0, (stats[name] - before[name]) / seconds);
      // Smoothed: a figure that jumps every two seconds cannot be read.
      rates[name] = rates[name] === null ? fresh : rates[name] * 0.6 + fresh * 0.4;
    }
  }
  before = stats;
}

function part(name, said) {
  const ok = said === "ok";
  const label = has(`health.${name}`) ? t(`health.${name}`) : name;
  return { key: name, mark: ok ? "ok" : "bad", label, value: t(ok ? "health.ok" : "health.bad"), why: ok ? "" : said };
}

function figure(key, value, digits, bad = false) {
  const shown = typeof value === "number" ? number(value, value < 100 ? digits : 0) : "–";
  return { key, mark: bad ? "bad" : null, label: t(key), value: shown, why: "" };
}

function draw(tiles) {
  const strip = $("health");
  const keys = tiles.map((tile) => `${tile.key}:${tile.mark}`).join();
  if (strip.dataset.keys !== keys) {
    strip.dataset.keys = keys;
    strip.replaceChildren(...tiles.map(build));
  }
  tiles.forEach((tile, n) => {
    const node = strip.children[n];
    setText(node.querySelector(".tile-label"), tile.label);
    setText(node.querySelector(".tile-value"), tile.value);
    setText(node.querySelector(".tile-why"), tile.why);
    node.title = tile.why;
  });
}

function build(tile) {
  return el(
    "div",
    { className: `tile ${tile.mark ?? "figure"}` },
    tile.mark ? shape(tile.mark) : null,
    el("span", { className: "tile-label" }),
    el("span", { className: "tile-value" }),
    el("span", { className: "tile-why" }),
  );
}
