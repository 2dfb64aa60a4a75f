// The dashboard works without this module. It keeps pages current, counts ages, and remembers the theme.

/** @type {any} */ const { Idiomorph } = globalThis;
const root = document.documentElement;
const FASTEST = Number(root.dataset.refresh || 1) * 1000;
const SLOWEST = 5000;
const OFFLINE = 30000;
const BLURRED = 60000;

let version = root.dataset.version || "";
let pause = FASTEST;
let paused = false;
let failedSince = 0;
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

export async function poll() {
  clearTimeout(timer);
  try {
    const reply = await fetch(location.href, { headers: { "Tako-Live": "1", "Tako-Seen": version, Accept: "text/html" } });
    if (reply.headers.get("Tako-Assets") !== root.dataset.assets) banner("A newer release serves this dashboard: reload the page.");
    else if (failedSince) banner("");
    failedSince = 0;
    if (reply.status === 204) pause *= 1.5;
    else if (reply.status === 401 || reply.status === 403) banner("You are no longer signed in: reload the page.");
    else {
      pause = FASTEST;
      version = reply.headers.get("Tako-Version") || "";
      show(await reply.text());
    }
  } catch {
    failedSince ||= Date.now();
    pause = Math.max(2000, pause * 1.5);
    banner(`No connection since ${new Date(failedSince).toLocaleTimeString()}.`);
  }
  schedule();
}

/** @param {string} html */
function show(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  document.title = next.title.trim();
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = next.getElementById(part.id);
    if (newer) {
      localise(newer);
      Idiomorph.morph(part, newer, KEEP);
    }
  }
  count();
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
function span(seconds) {
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
const controls = {
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
    try {
      localStorage.setItem("tako-theme", next);
    } catch {
      // storage is switched off: the choice holds for this page
    }
    nameTheme();
  },
  zone(button) {
    utc = !utc;
    button.setAttribute("aria-pressed", String(utc));
    button.textContent = utc ? "show local times" : "show UTC";
    localise(document);
  },
};

function nameTheme() {
  const name = document.querySelector('[data-control="theme"] span');
  const theme = root.dataset.theme || "auto";
  if (name) name.textContent = theme[0].toUpperCase() + theme.slice(1);
}

// Actions: the same form, sent without leaving the page; what came of it is shown below.

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !("do" in form.dataset) || event.defaultPrevented) return;
  event.preventDefault();
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) return;
  const body = new URLSearchParams(/** @type {any} */ (new FormData(form, event.submitter)));
  try {
    const reply = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
    const { said, id } = await reply.json();
    toast(said, reply.ok);
    if (form.dataset.do === "follow" && reply.ok && id) location.href = new URL(`../runs/${id}`, form.action).href;
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
  const place = document.getElementById("toast");
  place.textContent = text;
  place.className = good ? "" : "failed";
  clearTimeout(fading);
  fading = setTimeout(() => (place.textContent = ""), good ? 5000 : 12000);
}

document.addEventListener("click", (event) => {
  const control = event.target instanceof Element && event.target.closest("[data-control]");
  if (control) controls[control.dataset.control]?.(control);
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : poll()));
addEventListener("focus", () => {
  lastFocus = Date.now();
  schedule();
});
addEventListener("blur", () => (lastFocus = Date.now()));

nameTheme();
localise(document);
count();
setInterval(() => document.hidden || count(), 1000);
schedule();
