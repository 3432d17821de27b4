// The panel beside the map: what is chosen, what can be done with it, what was decided, and where that is written.

import { listDecided } from "./decided.js";
import { fill, select } from "./gallery.js";
import { NewShape } from "./shape.js";

const element = (id) => document.getElementById(id);
const DRAWING = "Click, or move the cross by arrows and press the space bar, to set corners; a click on the first one closes.";
const EDITING = "Drag corners, or choose one by Tab and move it by arrows. Drag the middle of an edge to make a corner, the "
  + "square to move all of it.";
const OF_SHAPE = [["Enter", "Save"], ["Esc", "Leave"], ["i", "Add a corner"], ["Delete", "Take it out"], ["s", "Fewer corners"], ["m", "Move all"]];
const OF_NEW = [["Enter", "Close it"], ["Esc", "Leave"], ["Delete", "Take the last corner out"]];
const CHOOSE = "Choose an object on the map, draw a new one (o), or begin with the queue (q).";

export function drawPanel(editor) {
  const reason = element("reason")?.value ?? "";
  const at = document.activeElement?.dataset?.deed;
  const parts = editor.can ? panel(editor, reason) : [fill("p", "This slide has no outlines to correct.")];
  element("editing").replaceChildren(...parts, ...ensembles(editor));
  element("said").textContent = editor.said ?? "";
  if (at) {
    element("editing").querySelector(`[data-deed="${at}"]:not(:disabled)`)?.focus();
  }
}

function panel(editor, reason) {
  const { editing, decided, choosing } = editor;
  const box = fill("input", [], { type: "text", id: "reason", value: reason, maxLength: 1000, placeholder: "optional" });
  const list = decided?.decisions.length
    ? [fill("h2", "Decided on this slide"), listDecided(decided.decisions, (place) => editor.pane.lead(place))] : [];
  const where = `${editing.author} decides. The outlines themselves stay as they are; decisions are written to `
    + `${decided?.file ?? "the folder of corrections"}. The plain command (snakemake --cores all, with your options) applies them.`;
  return [
    fill("h2", "Correcting"),
    fill("p", about(editor), { id: "chosen" }),
    choosing ? classes(editor) : deeds(editor),
    fill("label", ["Reason ", box]),
    ...list,
    fill("p", where, { className: "small" }),
  ];
}

function about({ chosen, suspect, hand, queue }) {
  const before = (chosen?.decision ? `; decided before (${chosen.decision})` : "")
    + (chosen?.copies > 1 ? `; there are ${chosen.copies} of it, all the same, and a decision is about all of them` : "");
  if (hand) {
    return hand instanceof NewShape ? DRAWING : EDITING;
  }
  if (suspect) {
    const parts = [suspect.kind, suspect.class, suspect.score.toFixed(2)].join(", ");
    const instead = suspect.instead ? `; networks see ${suspect.instead}` : "";
    return `Suspect ${suspect.number + 1}, ${queue.left ?? "?"} left: ${parts}${beside(suspect)}${instead}${before}.`;
  }
  const kind = chosen?.kind === "true" ? "outlined" : "predicted, nobody has outlined it";
  return chosen ? `Chosen: ${chosen.class}, ${kind}${before}.` : CHOOSE;
}

function beside({ right, down }) {
  const apart = [[right, "to the left", "to the right"], [down, "above", "below"]].filter(([by]) => by)
    .map(([by, less, more]) => `${Math.abs(by)} pixels ${by < 0 ? less : more}`);
  return apart.length ? `; networks see it ${apart.join(", ")}` : "";
}

// What a hand can do, by the mouse as well.
function handles({ hand }) {
  const known = hand instanceof NewShape ? OF_NEW : OF_SHAPE;
  return fill("div", known.map(([key, title]) => {
    const button = fill("button", [`${title} `, fill("kbd", key)], { type: "button" });
    button.dataset.deed = key;
    button.addEventListener("click", () => hand.key({ key: key === "Esc" ? "Escape" : key }));
    return button;
  }), { className: "deeds" });
}

function deeds(editor) {
  if (editor.hand) {
    return handles(editor);
  }
  return fill("div", editor.deeds().map(([key, title, can, act]) => {
    const button = fill("button", [`${title} `, fill("kbd", key)], { type: "button", disabled: !can });
    button.dataset.deed = key;
    button.addEventListener("click", () => !editor.busy && act());
    return button;
  }), { className: "deeds" });
}

function classes(editor) {
  return fill("div", ["Class: ", ...editor.editing.classes.map((name, place) => {
    const button = fill("button", [`${name} `, fill("kbd", String(place + 1))], { type: "button" });
    button.addEventListener("click", () => editor.choosing(name));
    return button;
  })], { className: "deeds", id: "classes" });
}

function ensembles(editor) {
  const { editing: { queues }, queue } = editor;
  const change = (name) => editor.attempt(() => queue.begin(name));
  const names = queues.map((name) => [name, name]);
  return queues.length > 1 ? [fill("label", ["Suspects of ", select("Suspects of", queue.ensemble, names, change)])] : [];
}
