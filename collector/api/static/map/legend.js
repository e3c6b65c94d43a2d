// What the shapes, plates and lines mean, and how many sites stand in each state.
import { $, el, kept, setText, shape } from "../dom.js";
import { number, t } from "../i18n.js";
import { mark, plate } from "./markers.js";
import { STATES } from "./states.js";

const KINDS = ["nagari", "district", "health", "agency", "centre"];
const SAMPLE = { returned: "major" };
const LAYERS = { fibre: ["built", "plan"], lte: ["lte"] };
let parts = { kinds: [], lines: new Set() };
let toggled = () => {};
let switches = {};

/** `onSwitch(name, on)` is called when somebody shows or hides a layer. */
export function setUp(onSwitch, start) {
  toggled = onSwitch;
  switches = { ...start };
  const open = kept.get("legend", matchMedia("(max-width: 900px), (max-height: 820px)").matches ? "no" : "yes") === "yes";
  expand(open);
  $("legend-open").addEventListener("click", () => {
    const now = $("legend-more").hidden;
    kept.set("legend", now ? "yes" : "no");
    expand(now);
  });
}

function expand(open) {
  $("legend-more").hidden = !open;
  $("legend-open").setAttribute("aria-expanded", String(open));
}

/** The kinds of sites and of lines that there are. */
export function build(kinds, lines) {
  parts = { kinds, lines };
  $("legend-states").replaceChildren(...STATES.map(stateRow));
  const found = KINDS.filter((kind) => kinds.includes(kind)).map((kind) => el("li", {}, sample(kind), t(`kind_of_site.${kind}`)));
  const rows = Object.keys(LAYERS).map(layerRow).filter(Boolean);
  if (kinds.includes("node")) found.push(el("li", {}, el("span", { className: "line-sample node" }), t("kind_of_site.node")));
  $("legend-more").replaceChildren(el("ul", {}, ...found), ...(rows.length ? [el("ul", {}, ...rows)] : []));
}

function stateRow(state) {
  const standing = { state, shape: SAMPLE[state] ?? state };
  const row = el("li", { "data-state": state }, mark(standing), el("span", {}, t(`site.${state}`)), el("b", { className: "count" }));
  row.title = t(`site.${state}.long`);
  return row;
}

function sample(kind) {
  return el("span", { className: `kind-sample kind-${kind}` }, kind === "nagari" ? shape("ok") : plate(kind));
}

function layerRow(name) {
  const looks = LAYERS[name].filter((look) => parts.lines.has(look));
  if (looks.length === 0) return null;
  const inside = looks.map((look) => el("span", { className: "line-row" }, el("span", { className: `line-sample ${look}` }), t(`line.${look}`)));
  const button = el("button", { type: "button", className: "layer", "data-layer": name }, ...inside);
  button.setAttribute("aria-pressed", String(switches[name]));
  button.title = t("map.switch");
  button.addEventListener("click", () => {
    switches[name] = !switches[name];
    button.setAttribute("aria-pressed", String(switches[name]));
    toggled(name, switches[name]);
  });
  return el("li", {}, button);
}

/** How many sites stand in each state; what there is none of, and is no trouble, is left out. */
export function count(counts) {
  for (const row of $("legend-states").children) {
    const n = counts[row.dataset.state] ?? 0;
    setText(row.querySelector(".count"), number(n));
    row.classList.toggle("zero", n === 0);
    row.hidden = n === 0 && ["returned", "unknown", "bare"].includes(row.dataset.state);
  }
}

export const rebuild = () => build(parts.kinds, parts.lines);
