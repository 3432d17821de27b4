// Outlines under the hand: corners that are dragged, added and taken out, by mouse or keyboard, and new outlines.

// The pane of the map in which corrections lie over the outlines that they correct.
export const ABOVE = "corrections";
const MOST = 300;
const LONG = 30;
const STEP = 2;
const FAST = 5;
const FIRST_TOLERANCE = 0.75;
const CASING = { pane: ABOVE, color: "#ffffff", weight: 6, fill: false, interactive: false };
const LINE = { pane: ABOVE, color: "#0072b2", weight: 2.5, fill: true, fillOpacity: 0.08, interactive: false };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const round = (value) => Math.round(value * 100) / 100;

// Polygons as lists of rings that are not closed; and back.
export function rings(geometry) {
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  return polygons.map((polygon) => polygon.map((ring) => ring.slice(0, -1).map(([x, y]) => [x, y])));
}

export function geometry(polygons) {
  const closed = polygons.map((polygon) => polygon.map((ring) => [...ring, ring[0]]));
  return closed.length === 1
    ? { type: "Polygon", coordinates: closed[0] }
    : { type: "MultiPolygon", coordinates: closed };
}

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

// A ring without the corners that lie nearer than a tolerance to the line of the others (Douglas and Peucker).
export function simpler(ring, tolerance) {
  const far = ring.reduce((best, point, place) =>
    (Math.hypot(point[0] - ring[0][0], point[1] - ring[0][1])
      > Math.hypot(ring[best][0] - ring[0][0], ring[best][1] - ring[0][1]) ? place : best), 0);
  const kept = new Set([0, far]);
  const parts = [[0, far], [far, ring.length]];
  while (parts.length) {
    const [start, stop] = parts.pop();
    let [worst, place] = [tolerance, -1];
    for (let each = start + 1; each < stop; each += 1) {
      const apart = distance(ring[each], ring[start], ring[stop % ring.length]);
      if (apart > worst) {
        [worst, place] = [apart, each];
      }
    }
    if (place > 0) {
      kept.add(place);
      parts.push([start, place], [place, stop]);
    }
  }
  const found = ring.filter((_, place) => kept.has(place));
  return found.length >= 3 ? found : ring;
}

// What is common to the hands: keys go to them first, and the map does not take a double click for a zoom.
class Hand {
  constructor(pane, done) {
    Object.assign(this, { pane, done, map: pane.map, layer: L.layerGroup().addTo(pane.map) });
    this.keys = (event) => {
      if (!event.target.closest("input, select, dialog") && !event.ctrlKey && !event.altKey && !event.metaKey && this.key(event)) {
        event.preventDefault();
        event.stopPropagation();
      }
    };
    this.moved = () => this.draw();
    document.addEventListener("keydown", this.keys, true);
    this.map.on("moveend", this.moved);
    this.map.doubleClickZoom.disable();
  }

  close() {
    document.removeEventListener("keydown", this.keys, true);
    this.map.off("moveend", this.moved);
    this.map.doubleClickZoom.enable();
    this.layer.remove();
  }

  finish(found) {
    this.close();
    this.done(found);
  }

  place(latlng) {
    const { x, y } = this.map.project(latlng, this.pane.about.zoom);
    return [round(x), round(y)];
  }

  // How far a key moves, in pixels of the slide.
  step(event) {
    return STEP * 2 ** (this.pane.about.zoom - this.map.getZoom()) * (event.shiftKey ? FAST : 1);
  }

  marker([x, y], name, options = {}) {
    const icon = L.divIcon({ className: name, iconSize: name === "middle" ? [10, 10] : [14, 14] });
    return L.marker(this.pane.point(x, y), { icon, keyboard: false, ...options }).addTo(this.layer);
  }

  lines(placed) {
    for (const style of [CASING, LINE]) {
      L.polygon(placed, style).addTo(this.layer);
    }
  }

  showPlace([x, y]) {
    const at = this.pane.point(x, y);
    if (!this.map.getBounds().contains(at)) {
      this.map.panTo(at, { animate: false });
    }
  }
}

export class Shape extends Hand {
  constructor(pane, start, done) {
    super(pane, done);
    this.polygons = rings(start);
    this.chosen = [0, 0, 0];
    this.tolerance = FIRST_TOLERANCE;
    this.whole = false;
    this.draw();
  }

  get ring() {
    return this.polygons[this.chosen[0]][this.chosen[1]];
  }

  get corners() {
    return this.polygons.flatMap((polygon, p) =>
      polygon.flatMap((ring, r) => ring.map((point, i) => ({ point, at: [p, r, i] }))));
  }

  draw() {
    this.layer.clearLayers();
    this.outline();
    const view = this.map.getBounds();
    const seen = this.corners.filter(({ point: [x, y] }) => view.contains(this.pane.point(x, y)));
    const each = Math.ceil(seen.length / MOST);
    seen.filter(({ at }, place) => place % each === 0 || this.isChosen(at)).forEach(({ at }) => this.corner(at));
    this.handle();
    if (each === 1) {
      seen.filter(({ at }) => this.isLong(at)).forEach(({ at }) => this.middle(at));
    }
  }

  // Whether the edge behind a corner has room for a handle.
  isLong([p, r, i]) {
    const ring = this.polygons[p][r];
    const [one, next] = [ring[i], ring[(i + 1) % ring.length]].map(([x, y]) => this.map.latLngToLayerPoint(this.pane.point(x, y)));
    return one.distanceTo(next) > LONG;
  }

  outline() {
    const placed = this.polygons.map((polygon) => polygon.map((ring) => ring.map(([x, y]) => this.pane.point(x, y))));
    this.drawn?.forEach((line) => line.remove());
    this.drawn = [CASING, LINE].map((style) => L.polygon(placed, style).addTo(this.layer));
  }

  isChosen(at) {
    return at.every((part, place) => part === this.chosen[place]);
  }

  corner(at) {
    const [p, r, i] = at;
    const ring = this.polygons[p][r];
    const name = this.isChosen(at) ? "corner chosen" : "corner";
    this.marker(ring[i], name, { draggable: true })
      .on("dragstart", () => { this.chosen = at; })
      .on("drag", (event) => this.move(at, event.latlng))
      .on("dragend", () => this.draw())
      .on("click", (event) => this.mark(at, event.target))
      .on("dblclick", (event) => { L.DomEvent.stop(event); this.chosen = at; this.remove(); });
  }

  // Choose a corner without drawing all anew: a second click shall meet the same.
  mark(at, marker) {
    this.chosen = at;
    this.map.getContainer().querySelectorAll(".corner.chosen").forEach((each) => each.classList.remove("chosen"));
    marker.getElement().classList.add("chosen");
  }

  // The handle in the middle, by which all of it is moved.
  handle() {
    const points = this.corners.map(({ point }) => point);
    const middle = [0, 1].map((axis) => {
      const values = points.map((point) => point[axis]);
      return (values.reduce((one, other) => Math.min(one, other)) + values.reduce((one, other) => Math.max(one, other))) / 2;
    });
    let before = middle;
    this.marker(middle, this.whole ? "whole chosen" : "whole", { draggable: true })
      .on("drag", (event) => {
        const now = this.place(event.latlng);
        this.shift(now[0] - before[0], now[1] - before[1]);
        before = now;
        this.outline();
      })
      .on("dragend", () => this.draw());
  }

  shift(dx, dy) {
    this.polygons = this.polygons.map((polygon) =>
      polygon.map((ring) => ring.map(([x, y]) => [round(x + dx), round(y + dy)])));
  }

  // The middle of the edge behind a corner: dragged, it becomes one.
  middle([p, r, i]) {
    const ring = this.polygons[p][r];
    const next = ring[(i + 1) % ring.length];
    const at = [p, r, i + 1];
    this.marker([(ring[i][0] + next[0]) / 2, (ring[i][1] + next[1]) / 2], "middle", { draggable: true })
      .on("dragstart", (event) => { ring.splice(i + 1, 0, this.place(event.target.getLatLng())); this.chosen = at; })
      .on("drag", (event) => this.move(at, event.latlng))
      .on("dragend", () => this.draw());
  }

  move([p, r, i], latlng) {
    this.polygons[p][r][i] = this.place(latlng);
    this.outline();
  }

  remove() {
    const [p, r, i] = this.chosen;
    if (this.ring.length > 3) {
      this.ring.splice(i, 1);
    } else if (r > 0) {
      this.polygons[p].splice(r, 1);
    } else if (this.polygons.length > 1) {
      this.polygons.splice(p, 1);
    }
    this.chosen = this.polygons[p]?.[r] ? [p, r, Math.min(i, this.ring.length - 1)] : [0, 0, 0];
    this.draw();
  }

  add() {
    const [p, r, i] = this.chosen;
    const [one, next] = [this.ring[i], this.ring[(i + 1) % this.ring.length]];
    this.ring.splice(i + 1, 0, [round((one[0] + next[0]) / 2), round((one[1] + next[1]) / 2)]);
    this.choose([p, r, i + 1]);
  }

  choose(at) {
    this.chosen = at;
    this.showPlace(this.ring[at[2]]);
    this.draw();
  }

  go(by) {
    const { corners } = this;
    const here = corners.findIndex(({ at }) => this.isChosen(at));
    this.choose(corners[(here + by + corners.length) % corners.length].at);
  }

  simplify() {
    this.polygons = this.polygons.map((polygon) => polygon.map((ring) => simpler(ring, this.tolerance)));
    this.tolerance *= 2;
    this.choose([0, 0, 0]);
  }

  key(event) {
    const actions = {
      Tab: () => { this.whole = false; this.go(event.shiftKey ? -1 : 1); },
      Delete: () => this.remove(),
      Backspace: () => this.remove(),
      Insert: () => this.add(),
      i: () => this.add(),
      s: () => this.simplify(),
      m: () => { this.whole = !this.whole; this.draw(); },
      Enter: () => this.finish(geometry(this.polygons)),
      Escape: () => this.finish(null),
    };
    if (ARROWS[event.key]) {
      const [dx, dy] = ARROWS[event.key];
      const [x, y] = this.ring[this.chosen[2]];
      const step = this.step(event);
      if (this.whole) {
        this.shift(dx * step, dy * step);
      } else {
        this.ring[this.chosen[2]] = [round(x + dx * step), round(y + dy * step)];
      }
      this.choose(this.chosen);
    } else if (actions[event.key]) {
      actions[event.key]();
    } else {
      return false;
    }
    return true;
  }
}

// A new outline: corners by clicks, or by a cross that arrows move and the space bar sets.
export class NewShape extends Hand {
  constructor(pane, done) {
    super(pane, done);
    this.ring = [];
    this.cross = this.place(this.map.getCenter());
    this.map.getContainer().classList.add("drawing");
    this.draw();
  }

  close() {
    super.close();
    this.map.getContainer().classList.remove("drawing");
  }

  draw() {
    this.layer.clearLayers();
    const placed = this.ring.map(([x, y]) => this.pane.point(x, y));
    if (placed.length > 1) {
      this.lines(placed);
    }
    this.ring.forEach((point, place) =>
      this.marker(point, place ? "corner" : "corner first").on("click", () => place === 0 && this.end()));
    this.marker(this.cross, "cross", { interactive: false });
  }

  click(latlng) {
    this.cross = this.place(latlng);
    this.add();
  }

  add() {
    this.ring.push([...this.cross]);
    this.draw();
  }

  end() {
    if (this.ring.length >= 3) {
      this.finish(geometry([[this.ring]]));
    }
  }

  key(event) {
    const actions = {
      " ": () => this.add(),
      Backspace: () => { this.ring.pop(); this.draw(); },
      Delete: () => { this.ring.pop(); this.draw(); },
      Enter: () => this.end(),
      Escape: () => this.finish(null),
    };
    if (ARROWS[event.key]) {
      const [dx, dy] = ARROWS[event.key];
      const step = 4 * this.step(event);
      this.cross = [round(this.cross[0] + dx * step), round(this.cross[1] + dy * step)];
      this.showPlace(this.cross);
      this.draw();
    } else if (actions[event.key]) {
      actions[event.key]();
    } else {
      return false;
    }
    return true;
  }
}
