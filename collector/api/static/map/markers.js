// The sites as markers: shape and colour say how a site stands, its plate says what it is.
import { el, setText, shape } from "../dom.js";
import { number, t } from "../i18n.js";
import { arrange, placesOf, spreadZoom } from "./groups.js";
import { worstOf } from "./states.js";

const BOX = { centre: 38, district: 30, health: 30, agency: 30, nagari: 26 };
const PLATES = ["centre", "district", "health", "agency"];
const SPARE = 0.15; // of the view, on each side: a short drag uncovers no empty strip
const TIP = { top: [0, -14], bottom: [0, 14], left: [-14, 0], right: [14, 0] };
const ROOM = 165; // px that a tip needs on either side
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let map;
let on; // standing(site), pick(id), words(site): what the panel knows
let places = [];
let chosen = "";
let tabbed = ""; // the key of the one marker that Tab reaches; arrows go on from there
const drawn = new Map(); // key -> { marker, item, look }
const pads = new Map();
let tip;
let tipped = ""; // the key of the marker it is about
let held = null; // the ids of the sites whose marker had the focus
let told = NaN; // the zoom whose arrangement was told

export function setUp(leaflet, given) {
  map = leaflet;
  on = given;
  map.createPane("pads").style.zIndex = 590;
  tip = L.tooltip({ className: "map-tip", opacity: 1 });
  map.on("moveend", layout);
  map.on("zoomstart", hush);
  map.getPane("markerPane").addEventListener("keydown", onKey);
}

export function setSites(sites) {
  places = placesOf(sites, (site) => L.CRS.EPSG3857.latLngToPoint(L.latLng(site.lat, site.lon), 0));
  told = NaN;
  layout();
}

const placeOf = (id) => places.find((place) => place.sites.some((site) => site.id === id));

/** Where to look, and how close, so that this site has a marker of its own. */
export function spot(id) {
  const place = placeOf(id);
  if (!place) return null;
  return { at: at(place), zoom: Math.min(spreadZoom(place) + 0.01, map.getMaxZoom()) };
}

/** Whether the site has a marker of its own in view. */
export const apart = (id) => drawn.has(id) && map.getBounds().contains(drawn.get(id).marker.getLatLng());

const at = ({ x, y, dx = 0, dy = 0 }) => {
  const scale = 2 ** map.getZoom();
  return L.CRS.EPSG3857.pointToLatLng(L.point(x + dx / scale, y + dy / scale), 0);
};

/** After the map moved, or the sites changed: what is in view is there, and nothing else. */
export function layout() {
  if (map.getZoom() === undefined) return;
  const view = map.getBounds().pad(SPARE);
  const { items, pads: wanted } = arrange(places, map.getZoom(), map.getMaxZoom());
  held = focusedIds() ?? held;
  const keep = new Set();
  for (const item of items) {
    const where = at(item);
    if (!view.contains(where)) continue;
    const key = item.sites.length === 1 ? item.sites[0].id : `${item.sites[0].id}+${item.sites.length}`;
    keep.add(key);
    put(key, item, where);
  }
  for (const [key, { marker }] of drawn) {
    if (keep.has(key)) continue;
    marker.remove();
    drawn.delete(key);
  }
  drawPads(wanted, view);
  refresh();
  if (told !== map.getZoom()) on.arranged(items.map(boxOf));
  told = map.getZoom();
  rove();
  holdFocus();
}

const focusedIds = () => document.activeElement?.closest(".site")?.dataset.ids.split(" ") ?? null;

/** When markers are regrouped the focus stays with the site, wherever it went; also if it comes back only later. */
function holdFocus() {
  if (held && document.activeElement === document.body) find(held)?.marker.getElement().focus({ preventScroll: true });
  if (document.activeElement !== document.body) held = null;
}

/** Where a marker's shape is, in the pixels of this zoom. */
function boxOf({ x, y, dx, dy, sites }) {
  const scale = 2 ** map.getZoom();
  const half = sites[0].kind === "nagari" ? 8 : 13;
  return [x * scale + dx - half, y * scale + dy - half, x * scale + dx + half, y * scale + dy + half];
}

function put(key, item, where) {
  const known = drawn.get(key);
  if (known) {
    known.item = item;
    if (!known.marker.getLatLng().equals(where)) known.marker.setLatLng(where);
    return;
  }
  const senior = item.sites[0];
  const size = BOX[senior.kind] ?? BOX.nagari;
  const icon = L.divIcon({ className: `site kind-${senior.kind}`, html: el("span", { className: "face" }), iconSize: [size, size] });
  const marker = L.marker(where, { icon, keyboard: false, riseOnHover: true }).addTo(map);
  const node = marker.getElement();
  node.setAttribute("role", "button");
  node.tabIndex = -1;
  node.dataset.key = key;
  node.dataset.ids = item.sites.map((site) => site.id).join(" ");
  marker.on("click", () => press(key));
  marker.on("mouseover", () => tell(key));
  marker.on("mouseout", hush);
  node.addEventListener("focus", () => {
    tabbed = key;
    rove();
    tell(key);
  });
  node.addEventListener("blur", hush);
  drawn.set(key, { marker, item, look: "" });
}

/** Where sites share a point, a faint pad says that they are one place. */
function drawPads(wanted, view) {
  const keep = new Set();
  for (const pad of wanted) {
    const where = at(pad);
    if (!view.contains(where)) continue;
    const key = `${pad.sites[0].id} ${pad.r}`;
    keep.add(key);
    if (pads.has(key)) continue;
    const icon = L.divIcon({ className: "pad", iconSize: [pad.r * 2, pad.r * 2] });
    pads.set(key, L.marker(where, { icon, pane: "pads", interactive: false, keyboard: false }).addTo(map));
  }
  for (const [key, pad] of pads) {
    if (keep.has(key)) continue;
    pad.remove();
    pads.delete(key);
  }
}

/** The states may be others now: only markers that look different are touched. */
export function refresh() {
  for (const [key, one] of drawn) {
    const { sites } = one.item;
    const worst = worstOf(sites.map(on.standing));
    const mine = sites.some((site) => site.id === chosen);
    const label = labelOf(sites, worst);
    const look = [worst.state, worst.shape, worst.todo, mine, sites.length, label].join("|");
    if (look === one.look) continue;
    one.look = look;
    dress(one, worst, mine, label);
    if (tipped === key) tell(key);
  }
}

function dress({ marker, item }, worst, mine, label) {
  const node = marker.getElement();
  const { kind } = item.sites[0];
  for (const name of [...node.classList].filter((one) => one.startsWith("is-"))) node.classList.remove(name);
  node.classList.add(`is-${worst.state}`);
  node.classList.toggle("todo", worst.todo);
  node.classList.toggle("chosen", mine);
  node.dataset.state = worst.state;
  node.setAttribute("aria-label", label);
  if (mine) node.setAttribute("aria-current", "true");
  else node.removeAttribute("aria-current");
  const many = item.sites.length > 1 ? el("span", { className: "many" }, number(item.sites.length)) : null;
  const parts = [PLATES.includes(kind) ? plate(kind) : null, mark(worst), many];
  node.querySelector(".face").replaceChildren(...parts.filter(Boolean));
  marker.setZIndexOffset(mine ? 4000 : { critical: 3000, major: 2500, minor: 2000, warning: 1500, silent: 1000 }[worst.state] ?? 0);
}

export function mark(standing) {
  const node = shape(standing.shape);
  node.classList.toggle("soft", standing.state === "returned");
  return node;
}

export function plate(kind) {
  const node = shape(`plate-${kind}`);
  node.setAttribute("class", "plate");
  return node;
}

function labelOf(sites, worst) {
  if (sites.length === 1) return on.words(sites[0]);
  return t("map.many", { n: number(sites.length), site: sites[0].name, state: t(`site.${worst.state}`) });
}

function tell(key) {
  const one = drawn.get(key);
  if (!one) return;
  tipped = key;
  const [name, rest] = one.item.sites.length === 1 ? [one.item.sites[0].name, on.words(one.item.sites[0], false)] : [null, null];
  tip.setContent(name ? el("span", {}, el("b", {}, name), el("br"), rest) : el("span", {}, one.marker.getElement().getAttribute("aria-label")));
  const side = sideOf(map.latLngToContainerPoint(one.marker.getLatLng()));
  Object.assign(tip.options, { direction: side, offset: TIP[side] });
  tip.setLatLng(one.marker.getLatLng());
  map.openTooltip(tip);
}

/** On which side of a marker its words have room. */
function sideOf({ x, y }) {
  const { x: width } = map.getSize();
  if (x < ROOM) return "right";
  if (x > width - ROOM) return "left";
  return y < 90 ? "bottom" : "top";
}

function hush() {
  tipped = "";
  map.closeTooltip(tip);
}

function press(key) {
  const one = drawn.get(key);
  if (!one) return;
  if (one.item.sites.length === 1) return on.pick(one.item.sites[0].id);
  tabbed = key;
  open(one.item);
}

/** Closer, until the sites of this marker stand apart. */
function open({ members }) {
  const next = map.getZoom() + 1;
  if (members.length === 1) return on.look(at(members[0]), Math.max(next, spreadZoom(members[0]) + 0.01));
  const bounds = L.latLngBounds(members.map(at));
  on.look(bounds.getCenter(), Math.max(next, Math.min(map.getBoundsZoom(bounds.pad(0.3)), next + 3)));
}

const find = (ids) => [...drawn.values()].find(({ item }) => item.sites.some((site) => ids.includes(site.id)));

/** Tab reaches one marker: the chosen site's, the last one used, or the worst. Arrows lead to its neighbours. */
function rove() {
  if (!drawn.has(tabbed)) {
    const start = find([chosen]) ?? [...drawn.values()].sort((a, b) => b.marker.options.zIndexOffset - a.marker.options.zIndexOffset)[0];
    tabbed = start?.marker.getElement().dataset.key ?? "";
  }
  for (const [key, { marker }] of drawn) {
    const wanted = key === tabbed ? 0 : -1;
    if (marker.getElement().tabIndex !== wanted) marker.getElement().tabIndex = wanted;
  }
}

function onKey(event) {
  const key = event.target.closest(".site")?.dataset.key;
  if (!key) return;
  if (event.key === "Enter" || event.key === " ") press(key);
  else if (ARROWS[event.key]) step(key, ARROWS[event.key]);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

/** To the nearest marker in that direction. */
function step(from, [dx, dy]) {
  const here = map.latLngToContainerPoint(drawn.get(from).marker.getLatLng());
  let best = null;
  for (const [key, { marker }] of drawn) {
    const there = map.latLngToContainerPoint(marker.getLatLng()).subtract(here);
    const ahead = there.x * dx + there.y * dy;
    const aside = Math.abs(there.x * dy) + Math.abs(there.y * dx);
    if (key === from || ahead <= 0 || aside > ahead * 2) continue;
    const cost = ahead + aside * 1.5;
    if (!best || cost < best.cost) best = { key, cost };
  }
  if (best) drawn.get(best.key).marker.getElement().focus();
}

export function choose(id) {
  chosen = id;
  if (drawn.has(id)) tabbed = id;
  refresh();
  rove();
}

export const markerCount = () => drawn.size;
