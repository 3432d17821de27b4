// Correcting: an object is chosen, by the queue or a click; a key or a button says what becomes of it.

import { json, send } from "./api.js";
import { drawDecided } from "./decided.js";
import { polygon } from "./layers.js";
import { show as keep, text } from "./link.js";
import { drawPanel } from "./panel.js";
import { Queue } from "./queue.js";
import { ABOVE, NewShape, Shape, rings } from "./shape.js";

const element = (id) => document.getElementById(id);
export const EDIT_KEYS = [
  ["q", "correct: the queue of suspects, from the first that nobody has decided about"],
  ["n N", "in the queue: to the next, and back"],
  ["a", "the outline is right as it is; nothing is missing there; bring back what was taken out"],
  ["x", "take the outline out"],
  ["e", "edit its shape: Tab chooses a corner, arrows move it, Delete takes it out, Insert (or i) adds one, s leaves fewer, m moves all of it"],
  ["r", "give it the shape that was predicted there"],
  ["c", "another class: then its number or first letter"],
  ["k", "ignore: the area counts for nothing"],
  ["o", "take over what was predicted; or draw: clicks, or arrows and the space bar, set corners"],
  ["Enter Esc", "save what is edited or drawn; leave it"],
  ["u", "undo the last decision of this viewer"],
];
// Keys by which a shape would be lost that is edited.
const LEAVING = ["g", "n", "N", "q"];
const DONE = {
  accept: "Right as it is", reject: "Taken out", redraw: "Saved in its new shape", rename: "Saved with its new class",
  ignore: "Ignored", draw: "Saved as a new outline",
};
const CHOSEN = [
  { color: "#ffffff", weight: 8, fill: false },
  { color: "#000000", weight: 4, fill: false },
  { color: "#f0e442", weight: 2, fill: false },
];

export class Editor {
  constructor(editing, report, calm) {
    Object.assign(this, { editing, report, calm, made: [], news: "" });
    this.queue = new Queue(editing, this);
    element("queue-button").hidden = !editing.queues.length;
    element("queue-button").addEventListener("click", () => this.begin());
  }

  // Whether the slide that is open can be corrected.
  get can() {
    const link = this.page?.link;
    return Boolean(this.page?.panes.length) && link.run === this.editing.run && this.editing.slides.includes(link.slide);
  }

  get pane() {
    return this.page.panes[0];
  }

  async opened(page) {
    this.page = page;
    this.chosen = undefined;
    element("editing").hidden = false;
    if (this.can) {
      this.pane.map.createPane(ABOVE).style.zIndex = 450;
      this.layers = { decided: L.layerGroup().addTo(this.pane.map), chosen: L.layerGroup().addTo(this.pane.map) };
      await this.refresh();
    }
    const { queue, set } = page.link;
    await this.attempt(async () => queue !== undefined && this.queue.resume(queue, set));
    this.draw();
  }

  closed() {
    this.said = "";
    this.leaveHand();
    this.layers = this.chosen = this.decided = this.choosing = undefined;
    element("editing").hidden = true;
  }

  // Do something; what is refused is told at the head of the page, and what is there is looked at anew.
  async attempt(work) {
    try {
      this.busy = true;
      element("editing").dataset.busy = "true";
      return await work();
    } catch (error) {
      this.report(error);
      await this.refresh().catch(() => undefined);
      return undefined;
    } finally {
      this.busy = false;
      element("editing").dataset.busy = "false";
    }
  }

  async refresh() {
    if (this.can) {
      this.show(await json(`${this.pane.base}/decided.json`));
    }
  }

  show(decided) {
    this.decided = decided;
    if (this.layers) {
      drawDecided(this.layers.decided, decided.decisions, this.pane);
    }
    this.draw();
  }

  say(what) {
    this.said = what;
    this.draw();
  }

  // A suspect is looked at, with what can be decided about it.
  meet({ suspect, object }) {
    this.suspect = suspect;
    this.choose(object ?? undefined, object ? this.news : "This outline has changed since the audit: run snakemake again.");
    this.news = "";
    this.pane.lead(suspect.box);
    this.page.link.queue = suspect.number;
    keep(this.page.link);
  }

  choose(object, said = "") {
    Object.assign(this, { chosen: object, choosing: undefined, said });
    this.layers?.chosen.clearLayers();
    if (object) {
      this.light(object.geometry);
    }
    this.draw();
  }

  light(geometry) {
    const { map, about } = this.pane;
    CHOSEN.forEach((style) =>
      polygon(rings(geometry).flat(), map, about.zoom, { ...style, pane: ABOVE }).addTo(this.layers.chosen));
  }

  // A click while a hand is at work is its own; else it chooses what is there.
  click(pane, latlng) {
    if (this.hand) {
      this.hand.click?.(latlng);
      return true;
    }
    if (this.can && pane === this.pane) {
      const { x, y } = pane.map.project(latlng, pane.about.zoom);
      this.attempt(async () => {
        const { objects } = await json(`${pane.base}/chosen.json`, { x, y, set: pane.set?.name });
        this.suspect = undefined;
        this.choose(objects[0]);
      });
    }
    return false;
  }

  get pointer() {
    const { chosen, suspect } = this;
    const set = suspect ? this.queue.ensemble : this.pane.set?.name ?? "";
    return chosen && { kind: chosen.kind, hash: chosen.hash, at: chosen.at, set, suspect: suspect?.number };
  }

  async decide(kind, extra = {}) {
    const { suspect } = this;
    const wish = { kind, reason: element("reason")?.value ?? "", object: this.pointer, ...extra };
    await this.attempt(async () => {
      const told = await send(`${this.pane.base}/decide.json`, wish);
      this.calm();
      this.made.push(suspect?.number);
      element("reason").value = "";
      this.news = [`${DONE[kind]}.`, ...told.notes.map((note) => `Repaired: ${note}`)].join("\n");
      this.choose(undefined);
      this.suspect = undefined;
      this.show(told);
      if (suspect) {
        this.queue.decided(suspect.number);
      }
      if (this.queue.active) {
        await this.queue.next();
      } else {
        this.say(this.news);
        this.news = "";
      }
      element("map0").focus();
    });
  }

  async undo() {
    await this.attempt(async () => {
      const told = await send("undo.json", {});
      this.calm();
      const number = this.made.pop();
      const here = this.can && this.page.link.slide === told.slide;
      if (here) {
        this.show(told);
      }
      if (number !== undefined) {
        this.queue.undone(number);
        this.queue.active = true;
        await this.queue.show(number);
      } else if (!here) {
        location.hash = text({ run: this.editing.run, slide: told.slide });
      } else if (told.box) {
        this.choose(undefined);
        this.pane.lead(told.box);
      }
      this.say("Undone.");
    });
  }

  begin() {
    if (!this.hand && !this.busy) {
      this.attempt(() => this.queue.begin());
    }
  }

  start(Kind, done, ...given) {
    this.layers.chosen.clearLayers();
    this.said = "";
    this.hand = new Kind(this.pane, ...given, (found) => {
      this.hand = undefined;
      this.choose(this.chosen);
      if (found) {
        done(found);
      }
    });
    this.draw();
  }

  leaveHand() {
    this.hand?.close();
    this.hand = undefined;
  }

  edit() {
    const { chosen } = this;
    const kind = chosen.kind === "true" ? "redraw" : "draw";
    const [left, top, right, bottom] = chosen.box;
    const around = L.latLngBounds(this.pane.point(left, top), this.pane.point(right, bottom)).pad(0.5);
    this.pane.map.fitBounds(around, { maxZoom: this.pane.about.zoom + 3, animate: false });
    this.pane.vectors.mark.clearLayers();
    this.start(Shape, (geometry) => this.decide(kind, { geometry }), chosen.geometry);
  }

  drawNew() {
    this.start(NewShape, (geometry) => {
      const { classes } = this.editing;
      const save = (name) => this.decide("draw", { class: name, geometry, object: undefined });
      if (classes.length === 1) {
        save(classes[0]);
      } else {
        this.light(geometry);
        this.ask(save);
      }
    });
  }

  // The shape that was predicted where the chosen outline is, in its place.
  async takePredicted() {
    const { chosen } = this;
    const [x, y] = chosen.at;
    const found = await this.attempt(() => json(`${this.pane.base}/chosen.json`, { x, y, set: this.pointer.set }));
    const predicted = found?.objects.find((each) => each.kind === "predicted");
    if (predicted) {
      await this.decide("redraw", { geometry: predicted.geometry });
    } else if (found) {
      this.say("Nothing was predicted there.");
    }
  }

  ask(done) {
    this.choosing = (name) => {
      this.choosing = undefined;
      done(name);
    };
    this.draw();
  }

  // What can be done now: key, title, whether it can, and how.
  deeds() {
    const { chosen, can } = this;
    const known = chosen?.kind === "true";
    const out = chosen?.decision === "reject";
    const accept = !known && chosen ? "Nothing is missing" : out ? "Bring it back" : "Right as it is";
    const queue = this.queue.active ? [
      ["n", "Next", true, () => this.attempt(() => this.queue.next())],
      ["N", "Back", true, () => this.attempt(() => this.queue.back())],
    ] : [];
    return [
      ...queue,
      ["a", accept, Boolean(chosen), () => this.decide("accept")],
      ["x", "Take it out", known && !out, () => this.decide("reject")],
      ["e", "Edit its shape", Boolean(chosen) && !out, () => this.edit()],
      ["r", "Predicted shape", known && !out && Boolean(this.pointer.set), () => this.takePredicted()],
      ["c", "Other class", Boolean(chosen) && !out,
        () => this.ask((name) => this.decide(known ? "rename" : "draw", { class: name }))],
      ["k", chosen ? "Ignore it" : "Draw to ignore", can && !out,
        () => chosen ? this.decide("ignore") : this.start(NewShape, (geometry) => this.decide("ignore", { geometry }))],
      ["o", chosen && !known ? "Take it over" : "Draw new", can,
        () => chosen && !known ? this.decide("draw") : this.drawNew()],
      ["u", "Undo", Boolean(this.decided?.undo ?? this.made.length), () => this.undo()],
    ];
  }

  key(event) {
    if (this.busy) {
      return event.key !== "Tab";
    }
    if (this.hand) {
      return LEAVING.includes(event.key);
    }
    if (this.choosing) {
      return this.keyOfClass(event.key);
    }
    const deed = this.deeds().find(([key]) => key === event.key);
    if (event.key === "q") {
      this.begin();
    } else if (event.key === "Escape" && (this.chosen || this.queue.active)) {
      this.leaveQueue();
    } else if (deed && this.page?.panes.length) {
      const [, title, can, act] = deed;
      if (can) {
        act();
      } else {
        this.say(`"${title}" needs ${this.can ? "an outline: choose one on the map, or by the queue (q)." : "a slide with outlines."}`);
      }
    } else {
      return false;
    }
    return true;
  }

  keyOfClass(key) {
    const { classes } = this.editing;
    const name = classes[Number(key) - 1] ?? classes.find((each) => each[0].toLowerCase() === key.toLowerCase());
    if (key === "Escape") {
      this.choose(this.chosen);
    } else if (name) {
      this.choosing(name);
    } else {
      return false;
    }
    return true;
  }

  leaveQueue() {
    this.queue.leave();
    this.suspect = undefined;
    this.choose(undefined);
    delete this.page.link.queue;
    keep(this.page.link);
  }

  draw() {
    drawPanel(this);
  }
}
