// Which sites share a marker at a zoom, and where those are put that share a point. No DOM here.
// x and y are the map's pixels at zoom 0; at zoom z there are 2^z times as many.
const SEAT = 27; // px from one marker to the next around a shared point
const FAR_NEAR = 15; // px: places closer than this share a marker
const MANY_NEAR = 44; // the same where sites come in thousands: it bounds how many markers a screen holds
const MANY = 1500;
const KINDS = ["centre", "district", "health", "agency", "nagari"];

const seniority = (a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || (a.id < b.id ? -1 : 1);

/** The points on which sites stand, the most senior first: [{ x, y, sites, apart }]. */
export function placesOf(sites, project) {
  const places = new Map();
  for (const site of [...sites].sort(seniority)) {
    const key = `${site.lon.toFixed(4)} ${site.lat.toFixed(4)}`; // 11 m
    if (!places.has(key)) places.set(key, { ...project(site), sites: [], apart: Infinity });
    places.get(key).sites.push(site);
  }
  const found = [...places.values()];
  measure(found);
  return found;
}

/** How far each place is from its nearest neighbour. */
function measure(places) {
  const row = [...places].sort((a, b) => a.x - b.x);
  row.forEach((place, n) => {
    for (const step of [-1, 1]) {
      for (let m = n + step; row[m] && Math.abs(row[m].x - place.x) < place.apart; m += step) {
        place.apart = Math.min(place.apart, Math.hypot(row[m].x - place.x, row[m].y - place.y));
      }
    }
  });
}

/** What to draw: [{ x, y, sites, dx, dy }] one marker each (dx, dy in px), and under spread places a pad of radius r. */
export function arrange(places, zoom, closest) {
  const items = [];
  const pads = [];
  const near = zoom >= closest ? 0 : places.length > MANY ? MANY_NEAR : FAR_NEAR;
  for (const { x, y, members } of clusters(places, near / 2 ** zoom)) {
    const sites = members.flatMap((place) => place.sites);
    if (sites.length > 1 && !spreads(members, zoom, closest)) {
      items.push({ x, y, dx: 0, dy: 0, sites, members });
      continue;
    }
    if (sites.length > 1) pads.push({ x, y, r: reach(sites.length), sites });
    seats(sites.length).forEach(([dx, dy], n) => items.push({ x, y, dx, dy, sites: [sites[n]], members }));
  }
  return { items, pads };
}

function clusters(places, size) {
  if (size === 0) return places.map((place) => ({ x: place.x, y: place.y, members: [place] }));
  const cells = new Map();
  const found = [];
  const cell = (cx, cy) => cx * 4194304 + cy;
  for (const place of places) {
    const [cx, cy] = [Math.floor(place.x / size), Math.floor(place.y / size)];
    const there = neighbours(cx, cy, (x, y) => cells.get(cell(x, y)) ?? []);
    const host = there.find((one) => Math.hypot(one.x - place.x, one.y - place.y) < size);
    if (host) {
      host.members.push(place);
      continue;
    }
    const fresh = { x: place.x, y: place.y, members: [place] };
    found.push(fresh);
    const key = cell(cx, cy);
    if (cells.has(key)) cells.get(key).push(fresh);
    else cells.set(key, [fresh]);
  }
  return found;
}

function neighbours(cx, cy, get) {
  const found = [];
  for (let x = cx - 1; x <= cx + 1; x += 1) for (let y = cy - 1; y <= cy + 1; y += 1) found.push(...get(x, y));
  return found;
}

/** Sites of one point stand in a ring as soon as the ring reaches no neighbour. */
function spreads(members, zoom, closest) {
  if (members.length > 1) return false;
  return zoom >= closest || zoom >= spreadZoom(members[0]);
}

/** From this zoom on each site of the place has its own marker. */
export function spreadZoom(place) {
  if (place.sites.length === 1 && place.apart === Infinity) return 0;
  const room = place.sites.length === 1 ? FAR_NEAR : reach(place.sites.length) + SEAT;
  return Math.log2(room / place.apart);
}

/** Seats around a point: the first in the middle if there are many. */
export function seats(n) {
  if (n === 1) return [[0, 0]];
  if (n <= 3) return ring(n, SEAT * (n === 2 ? 0.5 : 0.6), n === 2 ? Math.PI : -Math.PI / 2);
  const found = [[0, 0]];
  for (let k = 1; found.length < n; k += 1) found.push(...ring(Math.min(6 * k, n - found.length), SEAT * k, -Math.PI / 2));
  return found;
}

function ring(n, radius, start) {
  return Array.from({ length: n }, (_, k) => {
    const angle = start + (2 * Math.PI * k) / n;
    return [Math.cos(angle) * radius, Math.sin(angle) * radius];
  });
}

const reach = (n) => Math.max(...seats(n).map(([x, y]) => Math.hypot(x, y))) + SEAT * 0.62;
