// A map of one slide with the layers of one set of predictions. Two panes stand side by side with one zoom.

import { json } from "./api.js";
import { PAINTED, TILE, Values, polygon, seen } from "./layers.js";

const FURTHER = 4;
const OUTLINED = ["truth", "prediction"];
const FOLDS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

export class Pane {
  constructor(element, run, slide, report) {
    Object.assign(this, { element, run, slide, report, layers: {}, shown: {}, state: {} });
    this.base = `${run}/${encodeURIComponent(slide)}`;
  }

  // Open at a place, if one is named: its pixel in the middle of the map, and the zoom.
  async open({ x, y, zoom: at } = {}) {
    this.about = await json(`${this.base}/about.json`);
    const { width, height, zoom } = this.about;
    this.map = L.map(this.element, {
      crs: L.CRS.Simple, minZoom: 0, maxZoom: zoom + FURTHER, attributionControl: false, zoomSnap: 1,
      preferCanvas: true, fadeAnimation: false, zoomAnimation: false, inertia: false,
    });
    this.bounds = L.latLngBounds(this.point(0, 0), this.point(width, height));
    this.options = { tileSize: TILE, bounds: this.bounds, minZoom: 0, maxZoom: zoom + FURTHER, maxNativeZoom: zoom, noWrap: true };
    if ([x, y, at].every(Number.isFinite)) {
      this.map.setView(this.point(x, y), at, { animate: false });
    } else {
      this.map.fitBounds(this.bounds, { animate: false });
    }
    L.tileLayer(`${this.base}/image/{z}/{x}/{y}.jpg`, { ...this.options, keepBuffer: 1 }).addTo(this.map)
      .on("tileerror", () => this.explain());
    this.vectors = Object.fromEntries(
      [...OUTLINED, "tiles", "windows", "folds", "mark"].map((name) => [name, L.layerGroup().addTo(this.map)]),
    );
    this.map.on("moveend", () => this.refresh());
    return this;
  }

  // Why a picture did not come: the server says it where the same is asked for as text.
  async explain() {
    if (!this.explained) {
      this.explained = true;
      await json(`${this.base}/image/0/0/0.jpg`).catch((error) => {
        if (!(error instanceof SyntaxError)) {
          this.report(error);
        }
      });
    }
  }

  point(x, y) {
    return this.map.unproject([x, y], this.about.zoom);
  }

  get set() {
    const sets = this.about.sets;
    return sets.find((each) => each.name === this.state.set) ?? sets[0];
  }

  // The layers that there are of this slide: name, title, key.
  offered() {
    const { about, set } = this;
    return [
      about.truth && ["truth", "Truth", "t"],
      set?.segments && ["prediction", "Prediction", "p"],
      set?.probabilities && ["probability", "Probability", "h"],
      set?.spread && ["spread", "Spread", "v"],
      about.truth && set?.segments && ["difference", "Difference", "d"],
      about.tissue && ["tissue", "Tissue", "i"],
      about.windows.length && ["windows", "Windows (seams)", "w"],
      about.tiles.length && ["tiles", "Tile borders", "b"],
      about.folds.length && ["folds", "Folds", "f"],
    ].filter(Boolean);
  }

  // Show what a state says: set, class, layers with their opacity, threshold.
  apply(state) {
    this.state = state;
    const offered = this.offered().map(([name]) => name);
    for (const name of PAINTED) {
      this.applyValues(name, offered.includes(name) ? state.layers[name] : undefined);
    }
    this.refresh();
  }

  applyValues(name, opacity) {
    if (opacity === undefined) {
      this.layers[name]?.remove();
      return;
    }
    this.layers[name] ??= new Values(name, this.base, this.about, this.report, this.options);
    const layer = this.layers[name];
    layer.asked = { set: this.set?.name, class: this.state.class };
    layer.painted.bin = this.bin;
    layer.setOpacity(opacity);
    const asked = JSON.stringify(layer.asked);
    if (!this.map.hasLayer(layer)) {
      layer.addTo(this.map);
    } else if (asked !== layer.drawn) {
      layer.redraw();
    }
    layer.drawn = asked;
  }

  get bin() {
    return Math.max(1, Math.ceil((this.state.t ?? 0.5) * 255 - 1e-6));
  }

  threshold(t) {
    this.state.t = t;
    this.layers.probability?.paint({ bin: this.bin });
  }

  // Outlines and boxes in what is seen now.
  async refresh() {
    if (!this.map || !this.state.layers) {
      return;
    }
    this.turn?.abort();
    this.turn = new AbortController();
    const { signal } = this.turn;
    const box = seen(this.map, this.about.zoom).join(",");
    const offered = this.offered().map(([name]) => name);
    const wanted = (name) => offered.includes(name) && this.state.layers[name] !== undefined;
    this.folds(wanted("folds"));
    const work = OUTLINED.map((name) => this.outlines(name, wanted(name), box, signal));
    for (const name of ["tiles", "windows"]) {
      work.push(this.borders(name, wanted(name), box, signal));
    }
    await Promise.all(work).catch((error) => {
      if (error.name !== "AbortError") {
        this.report(error);
      }
    });
  }

  async outlines(name, wanted, box, signal) {
    if (!wanted) {
      this.vectors[name].clearLayers();
      return;
    }
    const asked = { box, kind: name === "truth" ? "true" : "predicted", set: this.set?.name, class: this.state.class };
    const { objects, many } = await json(`${this.base}/outlines.json`, asked, signal);
    this.vectors[name].clearLayers();
    this.outlined = { ...this.outlined, [name]: many ? null : objects.length };
    this.layers[name]?.setOpacity(many ? this.state.layers[name] : name === "truth" ? 0.75 * this.state.layers[name] : 0);
    for (const { rings, ...object } of objects) {
      const color = this.about.colors[object.class] ?? "#666666";
      const style = name === "truth"
        ? { color: "#ffffff", weight: 1.5, fill: false }
        : { color, weight: 2.5, fill: false };
      const opacity = this.state.layers[name];
      if (name === "truth") {
        polygon(rings, this.map, this.about.zoom, { color: "#202020", weight: 3, fill: false, opacity: opacity / 2 })
          .addTo(this.vectors[name]);
      }
      polygon(rings, this.map, this.about.zoom, { ...style, opacity }).addTo(this.vectors[name]);
    }
  }

  async borders(kind, wanted, box, signal) {
    if (!wanted) {
      this.vectors[kind].clearLayers();
      return;
    }
    const name = this.state[kind] ?? this.about[kind][0];
    const { boxes } = await json(`${this.base}/borders.json`, { kind, name, box }, signal);
    this.vectors[kind].clearLayers();
    const style = kind === "tiles" ? { color: "#005ab5" } : { color: "#222222", dashArray: "6 4" };
    for (const each of boxes) {
      this.rectangle(each, { ...style, weight: 1.5, opacity: this.state.layers[kind] }).addTo(this.vectors[kind]);
    }
  }

  folds(wanted) {
    this.vectors.folds.clearLayers();
    for (const { slide, fold, role, box } of wanted ? this.about.folds : []) {
      const known = fold !== null && fold !== undefined;
      const color = known ? FOLDS[fold % FOLDS.length] : "#444444";
      const drawn = this.rectangle(box, { color, weight: 4, opacity: this.state.layers.folds, interactive: true });
      drawn.bindTooltip(`${slide}: ${known ? `fold ${fold}` : role}`, { permanent: true, direction: "center" });
      drawn.addTo(this.vectors.folds);
    }
  }

  rectangle([left, top, right, bottom], style) {
    return L.rectangle(L.latLngBounds(this.point(left, top), this.point(right, bottom)), { fill: false, interactive: false, ...style });
  }

  // Go to a box and mark it.
  lead(box) {
    const [left, top, right, bottom] = box;
    const room = Math.max(24, (right - left) / 2, (bottom - top) / 2);
    this.map.fitBounds(L.latLngBounds(this.point(left - room, top - room), this.point(right + room, bottom + room)), {
      maxZoom: this.about.zoom + 2, animate: false,
    });
    this.mark(box);
  }

  mark(box) {
    this.vectors.mark.clearLayers();
    this.rectangle(box, { color: "#ffffff", weight: 5 }).addTo(this.vectors.mark);
    this.rectangle(box, { color: "#000000", weight: 2, dashArray: "4 4" }).addTo(this.vectors.mark);
  }

  close() {
    this.turn?.abort();
    this.map?.remove();
    this.map = undefined;
  }
}
