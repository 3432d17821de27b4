// The suspects of the audit, one after the other, over all slides: those that nobody has decided about.

import { json } from "./api.js";
import { text } from "./link.js";

export class Queue {
  constructor(editing, editor) {
    Object.assign(this, { editing, editor, ensemble: editing.queues[0], items: [], at: -1, active: false });
  }

  async load(start) {
    const found = await json("queue.json", { ensemble: this.ensemble, start });
    const known = new Set(this.items.map((each) => each.number));
    this.items.push(...found.suspects.filter((each) => !known.has(each.number)));
    this.left = found.left;
    return found.suspects.length;
  }

  // Begin at the first that is left, of an ensemble.
  async begin(ensemble = this.ensemble) {
    if (!this.editing.queues.length) {
      throw new Error("There is no audit of these results: it needs out-of-fold predictions (docs/audit.md).");
    }
    Object.assign(this, { ensemble, items: [], at: -1, active: true });
    await this.next();
  }

  // Go on where a link leads to.
  async resume(number, ensemble) {
    Object.assign(this, { active: true, ensemble: this.editing.queues.includes(ensemble) ? ensemble : this.ensemble });
    if (!this.items.some((each) => each.number === number)) {
      this.items = [];
      await this.load(number);
    }
    this.at = this.items.findIndex((each) => each.number === number);
    await this.show(number);
  }

  async next() {
    let place = this.items.findIndex((each, index) => index > this.at && !each.decided);
    if (place < 0) {
      const before = this.items.length;
      await this.load((this.items.at(-1)?.number ?? -1) + 1);
      place = this.items.length > before ? before : await this.again();
    }
    if (place < 0) {
      this.leave();
      this.editor.say("Nothing is left in the queue.");
      return;
    }
    this.at = place;
    await this.show(this.items[place].number);
  }

  // From the front, to those that were passed over.
  async again() {
    this.items = [];
    this.at = -1;
    return (await this.load(0)) ? 0 : -1;
  }

  async back() {
    if (this.at > 0) {
      this.at -= 1;
      await this.show(this.items[this.at].number);
    } else {
      this.editor.say("This is the first one.");
    }
  }

  async show(number) {
    const found = await json("suspect.json", { ensemble: this.ensemble, number });
    const { page } = this.editor;
    if (page?.panes.length && page.link.slide === found.suspect.slide && page.link.run === this.editing.run) {
      this.editor.meet(found);
    } else {
      const kept = page?.panes.length ? { layers: page.link.layers } : {};
      location.hash = text({ run: this.editing.run, slide: found.suspect.slide, set: this.ensemble, ...kept, queue: number });
    }
  }

  decided(number) {
    const item = this.items.find((each) => each.number === number);
    if (item && !item.decided) {
      item.decided = true;
      this.left -= 1;
    }
  }

  undone(number) {
    const place = this.items.findIndex((each) => each.number === number);
    if (place >= 0) {
      this.left += this.items[place].decided ? 1 : 0;
      this.items[place].decided = false;
      this.at = place;
    }
  }

  leave() {
    this.active = false;
  }
}
