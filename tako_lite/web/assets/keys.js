// Keys of the dashboard: `?` lists them, and switches them off.

import { boxes, controls, make, open, pick, recall, remember, dialog } from "./tako.js";

const KEYS = {
  "?": ["this help", () => open("Keys", ...help())],
  "/": ["search", () => (document.getElementById("filter") || document.getElementById("search")).focus()],
  g: ["then o r g w s e i a y: a page", () => (going = true)],
  j: ["next row", () => step(1)],
  k: ["previous row", () => step(-1)],
  Enter: ["open the row", null],
  o: ["open the row in a new tab", () => row() && window.open(linkOf(row()).href)],
  x: ["select the row", () => row()?.querySelector("td.pick input")?.click()],
  X: ["select up to the row", () => extend()],
  c: ["cancel", () => press("c")],
  r: ["retry", () => press("r")],
  e: ["enqueue", () => press("e")],
  l: ["log of the run", () => goTo("log")],
  p: ["payload of the run", () => goTo("payload")],
  "[": ["previous run of the list", () => besides(-1)],
  "]": ["next run of the list", () => besides(1)],
  u: ["up, to the list", () => /** @type {any} */ (document.querySelector("nav [aria-current]"))?.click()],
  ".": ["pause", () => controls.pause(document.querySelector('[data-control="pause"]'))],
  t: ["theme", () => controls.theme()],
};
let going = false;
let keys = recall("tako-keys") !== "off";

const rows = () => [...document.querySelectorAll("main tr[id]")];
const row = () => document.activeElement?.closest("main tr[id]");
/** @param {Element} row */
const linkOf = (row) => /** @type {HTMLAnchorElement} */ (row.querySelector("a.id") || row.querySelector("a"));

/** @param {number} by */
function step(by) {
  const all = rows();
  const next = all[row() ? all.indexOf(row()) + by : by > 0 ? 0 : all.length - 1];
  if (next) linkOf(next)?.focus();
}

function extend() {
  const box = row()?.querySelector("td.pick input");
  if (!box) return;
  box.checked = true;
  pick(box, true);
}

/** The button of a key; in a list it is about the row if nothing is selected. @param {string} key */
function press(key) {
  const button = /** @type {HTMLButtonElement} */ (document.querySelector(`main [data-key="${key}"]`));
  const box = row()?.querySelector("td.pick input");
  if (box && button && "selecting" in button.dataset && button.disabled) box.click();
  button?.click();
}

/** @param {string} id */
function goTo(id) {
  if (document.getElementById(id)) location.hash = id;
}

/** @param {number} by */
function besides(by) {
  const list = JSON.parse(recall("tako-list", sessionStorage) || "[]");
  const here = list.findIndex((/** @type {string} */ path) => path === location.pathname);
  if (here >= 0 && list[here + by]) location.href = list[here + by];
}

function help() {
  const box = make("input", { type: "checkbox", ...(keys ? { checked: "" } : {}) });
  box.addEventListener("change", () => remember("tako-keys", (keys = box.checked) ? "on" : "off"));
  const lines = Object.entries(KEYS).flatMap(([key, [what]]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]);
  return [make("h2", {}, "Keys"), make("dl", {}, ...lines), make("p", {}, make("label", {}, box, " Keys are on")), make("form", { method: "dialog" }, make("button", {}, "Close"))];
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches("input:not([type=checkbox]), textarea, select");
  if (event.key === "Escape" && typing) return target.blur();
  if (typing || dialog.open || event.ctrlKey || event.altKey || event.metaKey || (!keys && event.key !== "?")) return;
  if (going) {
    going = false;
    return document.querySelector(`nav [data-go="${CSS.escape(event.key)}"]`)?.click();
  }
  const does = KEYS[event.key]?.[1];
  if (!does) return;
  event.preventDefault();
  does();
});

// The list that a run was opened from, for `[` and `]`.
const listed = [...document.querySelectorAll("main table.runs a.id")].map((link) => /** @type {HTMLAnchorElement} */ (link).pathname);
if (listed.length) remember("tako-list", JSON.stringify(listed), sessionStorage);
