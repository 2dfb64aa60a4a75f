// The dashboard works without this module. It keeps pages current, counts ages, and remembers the theme.

const root = document.documentElement;
const FASTEST = Number(root.dataset.refresh || 1) * 1000;
const SLOWEST = 5000;
const OFFLINE = 30000;
const BLURRED = 60000;
const ANNOUNCED = 10000;

const main = document.getElementById("main");
let version = root.dataset.version || "";
let pause = FASTEST;
let paused = false;
let failedSince = 0;
let troubled = false;
let lastFocus = Date.now();
/** @type {number | undefined} */ let timer;

/** What the user has changed on the page stays: open details, half-typed inputs, the focus. */
const KEEP = {
  ignoreActiveValue: true,
  morphStyle: "outerHTML",
  callbacks: {
    beforeAttributeUpdated: (name, element) =>
      !(name === "open" && /^(DETAILS|DIALOG)$/.test(element.tagName)) &&
      !((name === "value" || name === "checked") && /^(INPUT|TEXTAREA|SELECT|OPTION)$/.test(element.tagName)) &&
      !element.closest?.("[data-keep]"),
    beforeNodeMorphed: (old) => !(old instanceof Element && old.hasAttribute("data-keep")),
  },
};

function schedule() {
  clearTimeout(timer);
  if (paused || document.hidden || (!document.hasFocus() && Date.now() - lastFocus > BLURRED)) return;
  timer = setTimeout(poll, failedSince ? Math.min(pause, OFFLINE) : Math.min(pause, SLOWEST));
}

async function poll() {
  clearTimeout(timer);
  try {
    const reply = await fetch(location.href, { headers: { "Tako-Live": "1", "Tako-Seen": version, Accept: "text/html" } }).catch(offline);
    if (reply) await take(reply);
  } finally {
    schedule();
  }
}

function offline() {
  failedSince ||= Date.now();
  pause = Math.max(2000, pause * 1.5);
  banner(`No connection since ${clock(new Date(failedSince))}.`);
}

/** @param {Response} reply */
async function take(reply) {
  if (reply.headers.get("Tako-Assets") !== root.dataset.assets) banner("A newer release serves this dashboard: reload the page.");
  else if (failedSince || troubled) banner("");
  failedSince = 0;
  troubled = reply.status >= 500;
  if (reply.status === 204) pause *= 1.5;
  else if (reply.status === 401 || reply.status === 403) banner("You are no longer signed in: reload the page.");
  else {
    pause = FASTEST;
    version = reply.headers.get("Tako-Version") || "";
    show(await reply.text(), troubled);
  }
}

/** What is new of the page; an error leaves its content as it is. @param {string} html @param {boolean} isError */
function show(html, isError) {
  const next = new DOMParser().parseFromString(html, "text/html");
  if (isError) banner(next.querySelector("main .lead")?.textContent || "This page cannot be shown at the moment.");
  else document.title = next.title.trim();
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = next.getElementById(part.id);
    if (newer && !(isError && part === main)) {
      localise(newer);
      /** @type {any} */ (globalThis).Idiomorph.morph(part, newer, KEEP);
    }
  }
  refresh();
}

function refresh() {
  count();
  showSelection();
  document.dispatchEvent(new Event("tako-shown"));
}

// What has changed, for those who hear the page instead of seeing it: a sentence, and not too often.

let said = main.dataset.summary;
let saidAt = 0;
function announce() {
  if (main.dataset.summary === said || Date.now() - saidAt < ANNOUNCED) return;
  said = main.dataset.summary;
  saidAt = Date.now();
  document.getElementById("summary").textContent = said;
}

/** @param {string} text */
function banner(text) {
  const place = document.getElementById("banner");
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
}

// Times: the server writes them in its own zone; here they become those of the reader, or UTC.

let utc = false;
/** @param {Date} when */
function clock(when) {
  const zone = utc ? { timeZone: "UTC" } : {};
  const day = (/** @type {Date} */ date) => date.toLocaleDateString("en-CA", zone);
  const now = new Date();
  if (day(when) === day(now)) return when.toLocaleTimeString("en-GB", zone);
  const format = { day: "numeric", month: "short", ...(when.getFullYear() === now.getFullYear() ? {} : { year: "numeric" }) };
  const time = when.toLocaleTimeString("en-GB", { ...zone, hour: "2-digit", minute: "2-digit" });
  return `${when.toLocaleDateString("en-GB", { ...zone, ...format })} ${time}`;
}

/** @param {ParentNode} within */
function localise(within) {
  for (const time of within.querySelectorAll("time:not([data-age])")) time.textContent = clock(new Date(time.getAttribute("datetime")));
}

const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];
/** @param {number} seconds */
export function span(seconds) {
  const whole = Math.round(seconds);
  for (const [length, unit, smaller, below] of UNITS) {
    if (whole < length) continue;
    const rest = Math.floor((whole % length) / smaller);
    return `${Math.floor(whole / length)} ${unit}${rest ? ` ${String(rest).padStart(2, "0")} ${below}` : ""}`;
  }
  return `${whole} s`;
}

/** @param {Date} when */
function age(when) {
  const seconds = (when.getTime() - Date.now()) / 1000;
  const [length, unit] = UNITS.find(([length]) => Math.abs(seconds) >= length) || [1, "s"];
  const amount = `${Math.round(Math.abs(seconds) / length)} ${unit}`;
  return seconds >= 0.5 ? `in ${amount}` : `${amount} ago`;
}

function count() {
  for (const time of document.querySelectorAll("time[data-age]")) set(time, age(new Date(time.getAttribute("datetime"))));
  for (const since of document.querySelectorAll("[data-since]")) set(since, span((Date.now() - Number(since.dataset.since)) / 1000));
}

/** @param {Element} element @param {string} text */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Controls

const THEMES = ["auto", "light", "dark"];
export const controls = {
  pause(button) {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume" : "Pause";
    if (!paused) poll();
  },
  theme() {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme || "auto") + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    remember("tako-theme", next);
    nameTheme();
    document.dispatchEvent(new Event("tako-look"));
  },
  async copy(button) {
    const text = document.getElementById(button.dataset.of)?.textContent.trim() || "";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // without https a page has no clipboard
      const area = make("textarea", {}, text);
      button.after(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    toast("Copied.", true);
  },
  all(button) {
    const all = boxes();
    const some = all.some((box) => !box.checked);
    for (const box of all) box.checked = some;
    showSelection();
  },
  zone(button) {
    utc = !utc;
    root.dataset.zone = utc ? "utc" : "local";
    button.setAttribute("aria-pressed", String(utc));
    button.textContent = utc ? "show local times" : "show UTC";
    localise(document);
    document.dispatchEvent(new Event("tako-look"));
  },
};

/** @param {string} name @param {string} value */
export function remember(name, value, storage = localStorage) {
  try {
    storage.setItem(name, value);
  } catch {
    // storage is switched off: the choice holds for this page
  }
}

/** @param {string} name */
export function recall(name, storage = localStorage) {
  try {
    return storage.getItem(name);
  } catch {
    return null;
  }
}

function nameTheme() {
  const name = document.querySelector('[data-control="theme"] span');
  const theme = root.dataset.theme || "auto";
  if (name) name.textContent = theme[0].toUpperCase() + theme.slice(1);
}

// Dialogs: questions, help, and pages that a link shows in place

export const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("dialog"));

/** @param {string} tag @param {Record<string, string>} attributes @param {(Node | string)[]} children */
export function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children);
  return element;
}

/** @param {string} label @param {(Node | string)[]} children */
export function open(label, ...children) {
  dialog.setAttribute("aria-label", label);
  dialog.replaceChildren(...children);
  if (!dialog.open) dialog.showModal();
}

/** @param {string} question @param {string} yes @returns {Promise<boolean>} */
function ask(question, yes) {
  const form = make("form", { method: "dialog", class: "act" }, make("button", { value: "yes", class: "primary" }, yes), make("button", {}, "Keep it as it is"));
  dialog.returnValue = "";
  open(question, make("p", { class: "lead" }, question), form);
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

/** @param {HTMLAnchorElement} link */
async function openPage(link) {
  try {
    const reply = await fetch(link.href, { headers: { "Tako-Live": "1", Accept: "text/html" } });
    const main = new DOMParser().parseFromString(await reply.text(), "text/html").querySelector("main");
    main.querySelector("#banner").remove();
    open(main.querySelector("h1").textContent, ...main.childNodes);
  } catch {
    location.href = link.href;
  }
}

// Actions: the same form, sent without leaving the page; what came of it is shown below.

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !("do" in form.dataset) || event.defaultPrevented) return;
  event.preventDefault();
  const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
  const body = new URLSearchParams(/** @type {any} */ (new FormData(form, button)));
  const question = button?.dataset.confirm || form.dataset.confirm;
  if (question && !(await ask(question, button?.textContent.trim() || "Yes"))) return;
  try {
    const reply = await fetch(button?.getAttribute("formaction") || form.action, { method: "POST", body, headers: { Accept: "application/json" } });
    const { said, next } = await reply.json();
    if (reply.ok && dialog.open) dialog.close();
    toast(said, reply.ok);
    if (form.dataset.do === "follow" && reply.ok && next) return void (location.href = next);
    for (const box of boxes()) box.checked = false;
  } catch {
    toast("No connection: nothing was sent.", false);
  }
  version = "";
  pause = FASTEST;
  poll();
});

/** @type {number | undefined} */ let fading;
/** @param {string} text @param {boolean} good */
function toast(text, good) {
  if (dialog.open) return void dialog.append(make("p", { class: "bad", role: "alert" }, text));
  const place = document.getElementById("toast");
  place.textContent = text;
  place.className = good ? "" : "failed";
  clearTimeout(fading);
  fading = setTimeout(() => (place.textContent = ""), good ? 5000 : 12000);
}

// Selection of rows

/** @type {HTMLInputElement | null} */ let lastBox = null;
export const boxes = () => /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("td.pick input")]);

/** @param {HTMLInputElement} box @param {boolean} range */
export function pick(box, range) {
  const all = boxes();
  const from = range && lastBox ? all.indexOf(lastBox) : -1;
  if (from >= 0) {
    const to = all.indexOf(box);
    for (const between of all.slice(Math.min(from, to), Math.max(from, to) + 1)) between.checked = box.checked;
  }
  lastBox = box;
  showSelection();
}

function showSelection() {
  const number = boxes().filter((box) => box.checked).length;
  for (const place of document.querySelectorAll("[data-selected]")) set(place, `${number} selected`);
  for (const button of document.querySelectorAll("[data-selecting]")) button.disabled = !number;
}

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  const control = target.closest("[data-control]");
  const link = target.closest("a[data-dialog]");
  if (control) controls[control.dataset.control]?.(control);
  else if (target.matches("td.pick input")) pick(target, event.shiftKey);
  else if (target.closest("[data-close]") && dialog.open) {
    event.preventDefault();
    dialog.close();
  } else if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    openPage(link);
  }
});

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : poll()));
addEventListener("focus", () => {
  lastFocus = Date.now();
  schedule();
});
addEventListener("blur", () => (lastFocus = Date.now()));

nameTheme();
localise(document);
refresh();
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest" });
setInterval(() => {
  if (document.hidden) return;
  count();
  announce();
}, 1000);
schedule();
