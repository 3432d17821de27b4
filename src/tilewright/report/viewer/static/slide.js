// The page of a slide: one map or two, and beside them layers, threshold, what was clicked, and the list of objects.

import { json } from "./api.js";
import { fill, select, tellAtHead } from "./gallery.js";
import { DIFFERENCE, seen } from "./layers.js";
import { show as keep } from "./link.js";
import { Pane } from "./pane.js";

const element = (id) => document.getElementById(id);
const BEGINNING = { truth: 0.8, prediction: 1 };
const STEP = 0.01;
const KINDS = { missed: "missed", false: "wrong", merged: "merged", cut: "cut apart", unsure: "unsure" };
const SCALE_WIDTH = 120;

export class SlidePage {
  constructor(runs, report, editor) {
    Object.assign(this, { runs, report, editor, panes: [] });
  }

  async open(link) {
    this.close();
    this.link = { run: 0, layers: { ...BEGINNING }, ...link };
    const first = await new Pane(element("map0"), this.link.run, this.link.slide, this.report).open(this.link);
    this.panes = [first];
    const { set } = first;
    this.link.set = first.about.sets.some((each) => each.name === this.link.set) ? this.link.set : set?.name;
    this.link.t ??= this.calibrated() ?? 0.5;
    await this.openSecond();
    this.moved(first);
    for (const pane of this.panes) {
      pane.map.on("moveend", () => this.moved(pane));
      pane.map.on("click", (event) => this.click(pane, event.latlng));
    }
    this.scale();
    this.apply();
    this.list();
    this.tellOfRows();
    element("map0").focus();
    await this.editor?.opened(this);
    this.goTo(link.box);
  }

  // To an object that the address names by its box; from there on it names what is seen.
  goTo(box) {
    delete this.link.box;
    if (box) {
      const [left, top, right, bottom] = box;
      this.panes[0].lead(box);
      this.panes.slice(1).forEach((pane) => pane.mark(box));
      this.click(this.panes[0], this.panes[0].point((left + right) / 2, (top + bottom) / 2));
    }
  }

  // The second map: another set of this run, or the same slide of another run.
  async openSecond() {
    const [run, ...name] = (this.link.beside ?? "").split("/");
    element("map1").hidden = !name.length;
    if (name.length) {
      const pane = await new Pane(element("map1"), Number(run), this.link.slide, this.report).open();
      pane.other = name.join("/");
      this.panes.push(pane);
      this.panes[0].map.invalidateSize();
    }
  }

  moved(pane) {
    if (this.moving) {
      return;
    }
    this.moving = true;
    for (const other of this.panes) {
      if (other !== pane) {
        other.map.setView(pane.map.getCenter(), pane.map.getZoom(), { animate: false });
      }
    }
    this.moving = false;
    const center = pane.map.project(pane.map.getCenter(), pane.about.zoom);
    Object.assign(this.link, { x: Math.round(center.x), y: Math.round(center.y), zoom: pane.map.getZoom() });
    this.scale();
    keep(this.link);
  }

  get about() {
    return this.panes[0].about;
  }

  get set() {
    return this.about.sets.find((each) => each.name === this.link.set);
  }

  calibrated() {
    const thresholds = this.set?.thresholds ?? {};
    return thresholds[this.link.class] ?? Object.values(thresholds)[0];
  }

  apply() {
    for (const pane of this.panes) {
      pane.apply({ ...this.link, layers: this.link.layers, set: pane.other ?? this.link.set });
    }
    this.drawFacts();
    this.drawLayers();
    this.drawThreshold();
    keep(this.link);
  }

  change(changes) {
    Object.assign(this.link, changes);
    if ("set" in changes || "class" in changes) {
      this.link.t = this.calibrated() ?? this.link.t;
      this.list();
      this.tellOfRows();
    }
    this.apply();
  }

  // What is wrong with the rows of a submission, or that it does not name this slide.
  async tellOfRows() {
    const names = this.panes.map((pane) => pane.other ?? this.link.set);
    const asked = this.panes.map((pane, place) =>
      pane.about.sets.find((each) => each.name === names[place])?.submission
        ? json(`${pane.base}/told.json`, { set: names[place] }).catch((error) => this.report(error)) : undefined);
    const { panes } = this;
    const found = (await Promise.all(asked)).flatMap((each) => each?.told ?? []);
    if (panes === this.panes && names.every((name, place) => name === (panes[place].other ?? this.link.set))) {
      tellAtHead(found.map(({ where, what, remedy }) => [`${where}: ${what}`, remedy].filter(Boolean).join(" ")));
    }
  }

  drawFacts() {
    const { about } = this;
    const known = this.set?.dice.any;
    element("title").textContent = about.slide;
    element("facts").textContent = [
      `${about.width} × ${about.height} pixels`,
      about.mpp ? `${about.mpp.toPrecision(3)} µm a pixel` : "pixel size unknown",
      about.role, about.fold === null ? null : `fold ${about.fold}`, about.source,
      known === undefined ? null : `Dice ${known.toFixed(3)}`,
    ].filter(Boolean).join(" · ");
  }

  // Layers with their opacity; a key switches each.
  drawLayers() {
    const { about, link } = this;
    const names = about.sets.map((each) => [each.name, each.name]);
    const others = this.runs.flatMap((run, place) =>
      run.slides.some((each) => each.slide === link.slide)
        ? [...run.ensembles, ...run.submissions].map((name) => [`${place}/${name}`, this.runs.length > 1 ? `${run.name}: ${name}` : name])
        : []);
    const models = about.sets.filter((each) => !each.segments && !each.submission).map((each) => [`${link.run}/${each.name}`, each.name]);
    const choice = (title, box) => fill("div", [fill("span", title), box], { className: "choice" });
    element("layers").replaceChildren(
      choice("Of", select("Predictions of", link.set ?? "", names, (set) => this.change({ set }))),
      choice("Class", select("Class", link.class ?? "", [["", "all"], ...about.classes.map((each) => [each, each])],
        (value) => this.change({ class: value || undefined }))),
      choice("Beside", select("Side by side with", link.beside ?? "", [["", "nothing"], ...others, ...models],
        (beside) => this.open({ ...link, beside: beside || undefined }))),
      fill("h2", "Layers"),
      ...this.panes[0].offered().map(([name, title, key]) => this.layer(name, title, key)),
      this.legend(),
    );
  }

  layer(name, title, key) {
    const box = fill("input", [], { type: "checkbox", checked: this.link.layers[name] !== undefined });
    box.addEventListener("change", () => this.toggle(name));
    const opacity = fill("input", [], { type: "range", min: 0.1, max: 1, step: 0.1, value: this.link.layers[name] ?? 1 });
    opacity.setAttribute("aria-label", `Opacity of ${title}`);
    opacity.addEventListener("input", () => {
      this.link.layers[name] = Number(opacity.value);
      this.panes.forEach((pane) => pane.apply({ ...pane.state, layers: this.link.layers }));
      keep(this.link);
    });
    return fill("div", [fill("label", [box, `${title} `, fill("kbd", key)]), opacity], { className: "layer" });
  }

  toggle(name) {
    const layers = { ...this.link.layers };
    if (layers[name] === undefined) {
      layers[name] = BEGINNING[name] ?? 0.8;
    } else {
      delete layers[name];
    }
    this.change({ layers });
  }

  legend() {
    const swatch = (color, name, extra = "") => {
      const sign = fill("i", [], { className: `swatch ${extra}` });
      sign.style.backgroundColor = color;
      return fill("span", [sign, ` ${name}`]);
    };
    const { about, link } = this;
    const classes = about.classes.map((each) => swatch(about.colors[each], each));
    const parts = ["right", "missed", "wrong"].map((name, place) =>
      swatch(`rgb(${DIFFERENCE[place + 1].join(" ")})`, name, name === "wrong" ? "hatched" : ""));
    return fill("div", [...classes, ...(link.layers.difference === undefined ? [] : parts)], { className: "legend" });
  }

  // The slider redraws from what is there; Dice comes from counts of the whole slide.
  async drawThreshold() {
    if (!this.set?.probabilities) {
      element("threshold").replaceChildren();
      return;
    }
    const slider = fill("input", [], { type: "range", min: 0.01, max: 0.99, step: STEP, value: this.link.t, id: "slider" });
    slider.setAttribute("aria-label", "Threshold of the probability");
    slider.addEventListener("input", () => this.threshold(Number(slider.value)));
    const table = fill("table", [], { id: "dice" });
    element("threshold").replaceChildren(fill("h2", ["Threshold ", fill("output", "", { id: "t" }), " ", fill("kbd", "["), fill("kbd", "]")]), slider, table);
    this.curves = {};
    this.drawDice();
    const asked = `${this.link.run}/${this.link.slide}/${this.set.name}`;
    if (this.counted?.asked !== asked) {
      this.counted = { asked, answer: json(`${this.panes[0].base}/dice.json`, { set: this.set.name }) };
    }
    const { counted } = this;
    const { dice } = await counted.answer.catch((error) => {
      this.report(error);
      return { dice: {} };
    });
    if (counted === this.counted && table.isConnected) { // else another set was chosen meanwhile
      this.curves = dice;
      this.drawDice();
    }
  }

  threshold(t) {
    if (!element("slider")) {
      return;
    }
    this.link.t = Math.round(Math.min(0.99, Math.max(0.01, t)) * 100) / 100;
    element("slider").value = this.link.t;
    this.panes.forEach((pane) => pane.threshold(this.link.t));
    this.drawDice();
    keep(this.link);
  }

  drawDice() {
    element("t").textContent = Number(this.link.t).toFixed(2);
    const bin = (t) => Math.min(255, Math.max(1, Math.ceil(t * 255 - 1e-6)));
    const rows = Object.entries(this.curves ?? {}).filter(([name]) => !this.link.class || name === this.link.class)
      .map(([name, curve]) => {
        const known = this.set.thresholds[name];
        const then = known === undefined ? "" : `${curve[bin(known)].toFixed(3)} at ${known.toFixed(2)}`;
        return fill("tr", [fill("td", name), fill("td", curve[bin(this.link.t)].toFixed(3)), fill("td", then)]);
      });
    const head = ["", "Dice", "calibrated"].map((name) => fill("th", name));
    element("dice").replaceChildren(...(rows.length ? [fill("tr", head), ...rows] : []));
  }

  async click(pane, latlng) {
    if (this.editor?.click(pane, latlng)) {
      return;
    }
    const { x, y } = pane.map.project(latlng, pane.about.zoom);
    const asked = { x, y, set: pane.set?.name, class: this.link.class };
    const found = await json(`${pane.base}/at.json`, asked).catch((error) => this.report(error));
    if (found) {
      this.tell(found, pane);
    }
  }

  tell({ predicted, true: known, overlap }, pane) {
    const { mpp } = pane.about;
    const area = (pixels) => mpp ? `${(pixels * mpp * mpp).toPrecision(3)} µm²` : `${Math.round(pixels)} pixels`;
    const rows = [];
    if (predicted) {
      const sure = predicted.confidence === null ? "not told" : predicted.confidence.toFixed(3);
      rows.push(["predicted", predicted.class], ["confidence", sure], ["area", area(predicted.area)]);
      rows.push(["overlap with truth", overlap ? `${overlap.iou.toFixed(3)} (IoU, ${overlap.class})` : "none"]);
    }
    if (known) {
      rows.push(["true", known.class], ["true area", area(known.area)]);
    }
    const table = fill("table", rows.map(([name, value]) => fill("tr", [fill("th", name), fill("td", value)])));
    element("clicked").replaceChildren(fill("h2", "Here"), rows.length ? table : fill("p", "no object"));
    const shown = predicted ?? known;
    if (shown) {
      this.panes.forEach((each) => each.mark(shown.box));
    }
  }

  // The list that leads to each object, the worst first.
  async list(order = undefined, start = 0) {
    const asked = { set: this.link.set, class: this.link.class, order, start };
    const found = await json(`${this.panes[0].base}/listed.json`, asked).catch((error) => this.report(error));
    if (!found) {
      return;
    }
    const kept = start ? this.listed.objects : [];
    this.listed = { ...found, objects: [...kept, ...found.objects], at: start ? this.listed.at : -1 };
    this.drawList();
  }

  drawList() {
    const { objects, count, order, mistakes } = this.listed;
    const other = order === "mistakes" ? "unsure" : "mistakes";
    const turn = fill("button", order === "mistakes" ? "Show the least sure" : "Show mistakes", { type: "button" });
    turn.addEventListener("click", () => this.list(other));
    const more = fill("button", "More", { type: "button" });
    more.addEventListener("click", () => this.list(order, objects.length));
    const rows = objects.map((object, place) => {
      const [left, top, right, bottom] = object.box;
      const sure = object.kind === "unsure" && object.confidence !== null;
      const value = sure ? object.confidence.toFixed(3) : `${right - left} × ${bottom - top}`;
      const kind = object.kind === "unsure" && !sure ? "object" : KINDS[object.kind] ?? object.kind;
      const button = fill("button", `${kind}: ${object.class}, ${value}`, { type: "button" });
      button.addEventListener("click", () => this.lead(place));
      return fill("li", button);
    });
    const by = order === "mistakes" || objects.some((object) => object.confidence === null) ? "largest" : "least sure";
    const title = `${count} ${order === "mistakes" ? "mistakes" : "objects"}, the ${by} first`;
    element("objects").replaceChildren(
      fill("h2", [`${title} `, fill("kbd", "n"), fill("kbd", "N")]),
      ...(mistakes ? [turn] : []), fill("ol", rows), ...(objects.length < count ? [more] : []),
    );
  }

  lead(place) {
    const { objects } = this.listed ?? { objects: [] };
    if (!objects.length) {
      return;
    }
    this.listed.at = (place + objects.length) % objects.length;
    const { box, at } = objects[this.listed.at];
    this.panes[0].lead(box);
    this.panes.slice(1).forEach((pane) => pane.mark(box));
    document.querySelectorAll("#objects li button").forEach((button, index) => {
      button.setAttribute("aria-current", String(index === this.listed.at));
      if (index === this.listed.at) {
        button.scrollIntoView({ block: "nearest" });
      }
    });
    const [left, top, right, bottom] = box;
    this.click(this.panes[0], this.panes[0].point(...(at ?? [(left + right) / 2, (top + bottom) / 2])));
  }

  scale() {
    const [pane] = this.panes;
    const [left, , right] = seen(pane.map, pane.about.zoom);
    const unit = pane.about.mpp ?? 1;
    const whole = ((right - left) / pane.map.getSize().x) * SCALE_WIDTH * unit;
    const power = 10 ** Math.floor(Math.log10(whole));
    const round = [5, 2, 1].map((each) => each * power).find((each) => each <= whole) ?? power;
    this.bar ??= fill("div", [], { className: "scale", id: "scale" });
    this.bar.style.width = `${Math.round((round / whole) * SCALE_WIDTH)}px`;
    const inMillimetres = pane.about.mpp && round >= 1000;
    this.bar.textContent = pane.about.mpp ? (inMillimetres ? `${round / 1000} mm` : `${round} µm`) : `${round} px`;
    if (!this.bar.isConnected) {
      const control = L.control({ position: "bottomleft" });
      control.onAdd = () => this.bar;
      control.addTo(pane.map);
    }
  }

  key(event) {
    if (this.editor?.key(event)) {
      return true;
    }
    const layer = this.panes[0]?.offered().find(([, , key]) => key === event.key);
    const actions = {
      "[": () => this.threshold(this.link.t - STEP),
      "]": () => this.threshold(this.link.t + STEP),
      n: () => this.lead((this.listed?.at ?? -1) + 1),
      N: () => this.lead((this.listed?.at ?? 0) - 1),
      g: () => { location.hash = ""; },
      0: () => this.panes[0].map.fitBounds(this.panes[0].bounds, { animate: false }),
    };
    if (layer) {
      this.toggle(layer[0]);
    } else if (actions[event.key]) {
      actions[event.key]();
    } else {
      return false;
    }
    return true;
  }

  close() {
    this.editor?.closed();
    this.panes.forEach((pane) => pane.close());
    this.panes = [];
    this.bar = undefined;
    tellAtHead([]);
    ["layers", "threshold", "clicked", "objects"].forEach((id) => element(id).replaceChildren());
  }
}
