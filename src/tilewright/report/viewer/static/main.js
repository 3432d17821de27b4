// Which page is shown follows from the address; keys that work everywhere.

import { json } from "./api.js";
import { EDIT_KEYS, Editor } from "./edit.js";
import { fill, gallery, offerReport } from "./gallery.js";
import { read } from "./link.js";
import { SlidePage } from "./slide.js";

const element = (id) => document.getElementById(id);
const KEYS = [
  ["t p d h", "truth, prediction, difference, probability"],
  ["v", "spread: how far those that predict are apart"],
  ["i", "tissue"],
  ["w b f", "windows of the model, borders of tiles, folds"],
  ["[ ]", "lower and raise the threshold"],
  ["n N", "to the next object of the list, and back"],
  ["+ - arrows", "zoom and move, once the map has the focus (Tab)"],
  ["0", "the whole slide"],
  ["g", "all slides"],
  ["?", "this list; Esc closes it"],
];

function report(error) {
  const message = element("message");
  message.textContent = error.message;
  message.hidden = false;
}

function drawHelp(editing) {
  const rows = [...KEYS, ...(editing ? EDIT_KEYS : [])].map(([keys, what]) =>
    fill("tr", [fill("td", keys.split(" ").map((key) => fill("kbd", key))), fill("td", what)]));
  const close = fill("button", "Close", { type: "button" });
  close.addEventListener("click", () => element("help").close());
  element("help").replaceChildren(fill("h2", "Keys"), fill("table", rows), close);
}

async function start() {
  const { runs, editing } = await json("runs.json");
  const editor = editing ? new Editor(editing, report, () => { element("message").hidden = true; }) : undefined;
  const page = new SlidePage(runs, report, editor);
  const route = async () => {
    const link = read();
    element("message").hidden = true;
    element("gallery").hidden = Boolean(link.slide);
    element("slide").hidden = !link.slide;
    if (link.slide) {
      offerReport(link.run ?? 0, runs[link.run ?? 0]);
      await page.open(link).catch(report);
    } else {
      page.close();
      element("title").textContent = "tilewright";
      element("facts").textContent = runs.map((run) => run.name).join(", ");
      gallery(runs);
    }
    document.body.dataset.ready = location.hash || "#";
  };
  window.addEventListener("hashchange", route);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("select, input[type=number], input[type=text], dialog");
    if (typing || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key === "?") {
      element("help").showModal();
    } else if (element("slide").hidden ? editor?.key(event) : page.key(event)) {
      event.preventDefault();
    }
  });
  element("help-button").addEventListener("click", () => element("help").showModal());
  drawHelp(editing);
  await route();
}

start().catch(report);
