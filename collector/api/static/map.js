// The map: the region's areas and cables, its sites as they stand, and the way from a site to its devices.
import { openOnes, watch } from "./alerts.js";
import { all, boundaries } from "./api.js";
import { $ } from "./dom.js";
import { number, t } from "./i18n.js";
import * as legend from "./map/legend.js";
import * as lines from "./map/lines.js";
import * as markers from "./map/markers.js";
import { standing } from "./map/states.js";

const CLOSEST = 17;
const MOST = 30000;

let map = null;
let sites = new Map();
let alerts = new Map(); // site id -> its open alerts
let standings = new Map(); // site id -> its standing, worked out when first asked for
let pick = () => {};
let chosen = "";
let moved = false; // somebody has moved the map: it is not fitted to the region any more
let due = false;

const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const mapped = (site) => typeof site.lon === "number" && typeof site.lat === "number";
const isSite = (site) => site.kind !== "node";

/** `onPick(id)`: somebody chose a site on the map, or with "" none. */
export function setUp(onPick) {
  pick = onPick;
  watch(soon);
  legend.setUp((name, on) => lines.show({ [name]: on }), { fibre: true, lte: false });
  $("map-in").addEventListener("click", () => user() && map.zoomIn());
  $("map-out").addEventListener("click", () => user() && map.zoomOut());
  $("map-home").addEventListener("click", () => home());
  $("map-panel").addEventListener("keydown", (event) => event.key === "Escape" && chosen && pick(""));
}

const user = () => (moved = true);

function create() {
  const container = $("map");
  map = L.map(container, {
    zoomControl: false, attributionControl: false, zoomSnap: 0.25, zoomDelta: 0.75, wheelPxPerZoomLevel: 90,
    maxZoom: CLOSEST, maxBoundsViscosity: 0.8, worldCopyJump: false, fadeAnimation: !still, zoomAnimation: !still, markerZoomAnimation: !still, inertia: !still,
  });
  lines.setUp(map, (id) => sites.get(id)?.name ?? id);
  markers.setUp(map, { standing: stand, pick, look, words: describe, arranged: lines.placeNames });
  map.on("click", () => chosen && pick(""));
  map.on("dragstart", user);
  container.addEventListener("wheel", user, { passive: true });
  new ResizeObserver(() => {
    if (!container.clientWidth) return;
    map.invalidateSize({ pan: false });
    if (!moved) home(false);
    else if (chosen && markers.spot(chosen)) map.panInside(markers.spot(chosen).at, { padding: [60, 90], animate: false });
  }).observe(container);
}

/** The region's sites, anew; `cut`: there are more than a page takes. A region without any place on earth has no map. */
export async function show(list, cut = false) {
  sites = new Map(list.map((site) => [site.id, site]));
  standings.clear();
  const [areas, links] = await Promise.all([boundaries().catch(() => null), all("/links", "links", {}, null, MOST).catch(() => ({ links: [] }))]);
  const placed = list.filter(mapped);
  const empty = placed.length === 0 && !areas?.features?.length;
  $("columns").classList.toggle("mapless", empty);
  $("map-panel").hidden = empty;
  if (empty) return;
  if (!map) create();
  lines.setAreas(areas);
  moved = false;
  home(false);
  lines.setLinks(links.links, placed);
  markers.setSites(placed.filter(isSite));
  const kinds = [...new Set(placed.map((site) => site.kind))];
  legend.build(kinds, lines.kinds());
  $("map-source").textContent = [cut ? t("map.cut", { n: number(list.length) }) : "", areas?.attribution ?? ""].filter(Boolean).join(" ");
  update();
}

/** The whole region. */
function home(animate = !still) {
  moved = false;
  const bounds = lines.hasAreas() ? lines.areaBounds() : L.latLngBounds([...sites.values()].filter(mapped).map((site) => [site.lat, site.lon]));
  if (!bounds.isValid()) return;
  map.setMinZoom(0);
  map.setMaxBounds(null);
  map.fitBounds(bounds, { padding: [14, 14], maxZoom: 15, animate });
  map.setMinZoom(Math.max(0, map.getBoundsZoom(bounds) - 1.5));
  map.setMaxBounds(bounds.pad(1));
}

function look(at, zoom) {
  moved = true;
  const to = Math.min(Math.ceil(zoom * 4) / 4, CLOSEST);
  if (still) map.setView(at, to, { animate: false });
  else map.flyTo(at, to, { duration: 0.5 });
}

/** Mark a site; with `fly` also bring it into view, with a marker of its own. */
export function choose(id, fly = false) {
  chosen = id;
  if (!map) return;
  markers.choose(id);
  lines.choose(id);
  const spot = fly && id ? markers.spot(id) : null;
  if (spot && !markers.apart(id)) look(spot.at, Math.max(map.getZoom(), spot.zoom));
}

/** Sites whose devices stand otherwise than before. */
export function changed(list) {
  for (const site of list) {
    const known = sites.get(site.id);
    if (known) Object.assign(known, site);
  }
  if (list.length) soon();
}

/** A storm of alerts is one drawing a frame. */
function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    update();
  });
}

function update() {
  alerts = new Map();
  const named = new Map();
  for (const alert of openOnes()) {
    if (alerts.has(alert.site)) alerts.get(alert.site).push(alert);
    else alerts.set(alert.site, [alert]);
    if (alert.condition === "active" && lines.hasLink(alert.device)) named.set(alert.device, alert.severity);
  }
  standings = new Map();
  if (!map) return;
  markers.refresh();
  lines.setNamed(named);
  const counts = {};
  for (const site of sites.values()) if (isSite(site) && mapped(site)) counts[stand(site).state] = (counts[stand(site).state] ?? 0) + 1;
  legend.count(counts);
}

/** How the site stands now. */
export function stand(site) {
  if (!standings.has(site.id)) standings.set(site.id, standing(site, alerts.get(site.id) ?? []));
  return standings.get(site.id);
}

/** A site in words: what it is, how it stands, and what of its devices is heard. */
export function describe(site, named = true) {
  const found = stand(site);
  const parts = [t(`kind_of_site.${site.kind}`), t(`site.${found.state}`)];
  if (found.alerts) parts.push(t("map.alerts", { n: number(found.alerts) }));
  if (site.devices) parts.push(t("map.heard", { n: number(site.heard), all: number(site.devices) }));
  return named ? `${site.name}: ${parts.join(" · ")}` : parts.join(" · ");
}

/** After a change of language or theme. */
export function redraw() {
  if (!map) return;
  legend.rebuild();
  lines.restyle();
  update();
}
