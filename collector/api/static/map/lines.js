// What lies under the sites: the areas with their names, the cables, and the closures along them.
import { el } from "../dom.js";
import { number, t } from "../i18n.js";

const NODES_FROM = 11.5; // zoom
const SEATS = [18, -18, 32, -32, 46, -46]; // px a name may stand below or above its point
const LEVELS = { regency: "regency", district: "district" };
const DASHES = { plan: "7 5", lte: "1 6", radio: "9 4 1 4" };

let map;
let areas = L.layerGroup();
let names = L.layerGroup();
let nodes = L.layerGroup();
let links = new Map(); // id -> { link, line }
let shown = { fibre: true, lte: false };
let chosen = "";
let named = new Map(); // link id -> severity, of alerts that name the link itself
let canvas;
let outlines;
let siteName = (id) => id;

export function setUp(leaflet, nameOf) {
  map = leaflet;
  siteName = nameOf;
  map.createPane("areas").style.zIndex = 250;
  map.createPane("links").style.zIndex = 410;
  map.createPane("names").style.zIndex = 450;
  map.getPane("names").style.pointerEvents = "none";
  outlines = L.svg({ pane: "areas", padding: 0.3 });
  canvas = L.canvas({ pane: "links", padding: 0.3, tolerance: 4 });
  for (const layer of [areas, names, nodes]) layer.addTo(map);
  map.on("zoomend", level);
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The areas of a boundaries.geojson, the large ones below. */
export function setAreas(geojson) {
  areas.clearLayers();
  names.clearLayers();
  const order = ["regency", "nagari", "district"]; // a district's border is drawn over its nagari's
  const place = (feature) => order.indexOf(feature.properties?.level ?? "");
  const features = [...(geojson?.features ?? [])].sort((a, b) => place(a) - place(b));
  for (const feature of features) {
    const className = `area ${LEVELS[feature.properties?.level] ?? "small"}`;
    const layer = L.geoJSON(feature, { renderer: outlines, pane: "areas", interactive: false, style: () => ({ className, smoothFactor: 0.6 }) });
    layer.addTo(areas);
    nameArea(feature, layer);
  }
  level();
}

function nameArea({ properties }, layer) {
  const { name, level: of, lon, lat } = properties ?? {};
  if (!name || of === "regency") return;
  const where = typeof lon === "number" && typeof lat === "number" ? [lat, lon] : layer.getBounds().getCenter();
  const className = `area-name ${LEVELS[of] ?? "small"}`;
  const icon = L.divIcon({ className, html: el("span", {}, name), iconSize: [0, 0] });
  const marker = L.marker(where, { icon, pane: "names", interactive: false, keyboard: false }).addTo(names);
  marker.size = of === "district" ? [name.length * 9 + 6, 16] : [name.length * 6.6 + 4, 14];
  marker.district = of === "district";
}

export const hasAreas = () => areas.getLayers().length > 0;

export function areaBounds() {
  const bounds = L.latLngBounds([]);
  areas.eachLayer((layer) => bounds.extend(layer.getBounds()));
  return bounds;
}

export function setLinks(list, sites) {
  for (const { line } of links.values()) line.remove();
  links = new Map();
  for (const link of list) {
    if (link.path.length < 2) continue;
    const line = L.polyline(link.path.map(([lon, lat]) => [lat, lon]), { renderer: canvas, pane: "links", smoothFactor: 0.8, bubblingMouseEvents: true });
    line.bindTooltip(() => describe(link), { sticky: true, className: "map-tip", opacity: 1 });
    links.set(link.id, { link, line });
  }
  nodes.clearLayers();
  for (const site of sites.filter((one) => one.kind === "node")) {
    const dot = L.circleMarker([site.lat, site.lon], { renderer: canvas, pane: "links", radius: 2.2, weight: 1 });
    dot.bindTooltip(() => el("span", {}, site.name), { className: "map-tip", opacity: 1 });
    dot.addTo(nodes);
  }
  restyle();
  level();
}

function describe(link) {
  const facts = [t(`link_kind.${link.kind}`)];
  if (link.cable) facts.push(link.cable);
  if (link.cores) facts.push(t("map.cores", { n: number(link.cores) }));
  facts.push(t("map.km", { n: number(link.length_km, 2) }));
  if (link.kind === "fibre") facts.push(t(link.source === "plan" ? "map.plan" : "map.built"));
  if (link.owner) facts.push(link.owner);
  return el("span", {}, el("b", {}, `${siteName(link.a)} – ${siteName(link.b)}`), el("br"), facts.join(" · "));
}

export function show(layers) {
  shown = { ...shown, ...layers };
  restyle();
}

/** The chosen site's links stand out; its LTE shows though LTE is switched off. */
export function choose(id) {
  chosen = id;
  restyle();
}

/** Links that an alert names. No other link takes a colour: which one is the cause is not for the map to guess. */
export function setNamed(found) {
  const same = found.size === named.size && [...found].every(([id, severity]) => named.get(id) === severity);
  named = found;
  if (!same) restyle();
}

export const hasLink = (id) => links.has(id);
/** What kinds of lines there are: built and planned fibre, and the rest, which is wireless. */
export function kinds() {
  return new Set([...links.values()].map(({ link }) => (link.kind !== "fibre" ? "lte" : link.source === "plan" ? "plan" : "built")));
}

/** After a change of theme, language or choice: colours are the page's own. */
export function restyle() {
  if (!map) return;
  const ink = { fibre: colour("--fibre"), lte: colour("--lte"), text: colour("--text"), panel: colour("--panel") };
  for (const { link, line } of links.values()) {
    const mine = chosen !== "" && (link.a === chosen || link.b === chosen);
    const wanted = (link.kind === "fibre" ? shown.fibre : shown.lte) || mine || named.has(link.id);
    if (!wanted) {
      line.remove();
      continue;
    }
    line.setStyle(styleOf(link, mine, ink));
    if (!map.hasLayer(line)) line.addTo(map);
  }
  nodes.eachLayer((dot) => dot.setStyle({ color: ink.fibre, fillColor: ink.panel, fillOpacity: 1, opacity: 1 }));
}

function styleOf(link, mine, ink) {
  const fibre = link.kind === "fibre";
  const severity = named.get(link.id);
  const stout = link.cores >= 96 ? 2.6 : link.cores >= 24 ? 2 : 1.4;
  const dashArray = fibre ? (link.source === "plan" ? DASHES.plan : null) : DASHES[link.kind];
  return {
    color: severity ? colour(`--${severity}`) : !fibre ? ink.lte : mine ? ink.text : ink.fibre,
    weight: (fibre ? stout : 1.6) + (severity || (mine && fibre) ? 1.2 : 0),
    opacity: mine || severity ? 1 : 0.85,
    dashArray,
    lineCap: fibre ? "butt" : "round",
  };
}

/** What shows at which zoom. */
function level() {
  const zoom = map.getZoom();
  if (zoom === undefined) return;
  const frame = map.getContainer().classList;
  frame.toggle("close", zoom >= 12.25);
  frame.toggle("far", zoom < 9);
  const wanted = zoom >= NODES_FROM && shown.fibre;
  if (wanted !== map.hasLayer(nodes)) wanted ? nodes.addTo(map) : nodes.remove();
}

const overlap = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));

/** Names of districts from afar, of nagari from near: never one over another, and where the fewest sites lie under them.
    `dots` are the sites' markers as boxes [left, top, right, bottom] in the pixels of this zoom. */
export function placeNames(dots) {
  const zoom = map.getZoom();
  const taken = [];
  names.eachLayer((marker) => {
    const node = marker.getElement();
    if (!node) return;
    const wanted = marker.district ? zoom >= 9.25 && zoom < 12.75 : zoom >= 12.25;
    const seat = wanted ? seatOf(marker, zoom, taken, dots) : null;
    node.classList.toggle("fits", seat !== null);
    if (seat === null) return;
    taken.push(seat.box);
    node.firstChild.style.top = `${seat.dy}px`;
  });
}

function seatOf(marker, zoom, taken, dots) {
  const { x, y } = map.project(marker.getLatLng(), zoom);
  const [width, height] = marker.size;
  let best = null;
  for (const dy of SEATS) {
    const box = [x - width / 2, y + dy - height / 2, x + width / 2, y + dy + height / 2];
    if (taken.some((other) => overlap(box, other) > 0)) continue;
    const under = dots.reduce((sum, dot) => sum + overlap(box, dot), 0);
    if (under > width * height * 0.4) continue;
    const cost = under + Math.abs(dy);
    if (!best || cost < best.cost) best = { dy, box, cost };
  }
  return best;
}
