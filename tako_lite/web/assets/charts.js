// Charts, drawn from the table beside them. They follow the page as it changes, its theme and its zone.

import { make, span } from "./tako.js";

/** @type {any[]} */ let plots = [];
/** Milliseconds between the lines of an axis of times. */
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];
const CHARTS = [
  ["Runs that ended", [["dead", 2, "--bar-bad"], ["cancelled", 1, "--bar-queue"], ["succeeded", 0, "--bar-ok"]], true],
  ["Time in the queue", [["p95", 5, "--bar-bad"], ["p50", 4, "--bar-busy"]], false],
  ["Time executing", [["p95", 7, "--bar-bad"], ["p50", 6, "--bar-busy"]], false],
];

/** A moment on the axis: the time of day, and at midnight and over many days the date. @param {number} at */
function label(at) {
  const when = new Date(at * 1000);
  const zone = document.documentElement.dataset.zone === "utc" ? { timeZone: "UTC" } : {};
  const time = when.toLocaleTimeString("en-GB", { ...zone, hour: "2-digit", minute: "2-digit" });
  return time === "00:00" ? when.toLocaleDateString("en-GB", { ...zone, day: "numeric", month: "short" }) : time;
}

/** @param {string} name */
function colour(name) {
  const probe = document.getElementById("plots");
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = "";
  return found;
}

/** @param {boolean} [anew] */
function draw(anew) {
  const table = document.getElementById("chart-data");
  const place = document.getElementById("plots");
  const uPlot = /** @type {any} */ (globalThis).uPlot;
  if (!table || !place || !uPlot) return;
  const lines = [...table.querySelectorAll("tbody tr")];
  const cells = lines.map((line) => [...line.querySelectorAll("td")].map((cell) => (cell.dataset.value ? Number(cell.dataset.value) : null)));
  const times = lines.map((line) => Date.parse(line.querySelector("time").dateTime) / 1000);
  place.hidden = !cells.some((line) => line[0] || line[1] || line[2] || line[3]);
  if (place.hidden) return;
  if (anew) {
    for (const plot of plots) plot.destroy();
    plots = [];
  }
  if (!plots.length) place.replaceChildren(...CHARTS.map(([title]) => make("div", { class: "plot" }, make("h3", {}, title))));
  CHARTS.forEach(([, series, stacked], index) => {
    const data = series.map(([, column], at) =>
      cells.map((line) => (stacked ? series.slice(at).reduce((sum, [, other]) => sum + (line[other] || 0), 0) : line[column])));
    if (plots[index]) return plots[index].setData([times, ...data]);
    const box = place.children[index];
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const say = (/** @type {number | null} */ value) => (value === null ? "–" : stacked ? String(value) : spanMs(value));
    plots.push(new uPlot({
      width: box.clientWidth - 16,
      height: 150,
      tzDate: (/** @type {number} */ at) => (document.documentElement.dataset.zone === "utc" ? uPlot.tzDate(new Date(at * 1000), "Etc/UTC") : new Date(at * 1000)),
      cursor: { y: false },
      axes: [{ ...axis, size: 28, values: (/** @type {any} */ _, /** @type {number[]} */ all) => all.map(label) }, { ...axis, size: 56, ...(stacked ? {} : { incrs: STEPS }), values: (/** @type {any} */ _, /** @type {number[]} */ all) => all.map((value) => (stacked && value % 1 ? "" : say(value))) }],
      scales: { y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [0, Math.max(high * 1.1, stacked ? 4 : 10)] } },
      series: [{ label: "\u00a0", value: (/** @type {any} */ _, /** @type {number | null} */ at) => (at === null ? "" : label(at)) }, ...series.map(([label, column, name]) => ({
        label,
        stroke: colour(name),
        ...(stacked ? { fill: colour(name), width: 0, paths: uPlot.paths.bars({ size: [0.85, 40] }), points: { show: false } } : { width: 1.5, points: { show: true, size: 4, filter: lonely } }),
        value: (/** @type {any} */ _, /** @type {any} */ __, /** @type {any} */ ___, /** @type {number | null} */ at) => (at === null ? "" : say(current[at]?.[column] ?? null)),
      }))],
    }, [times, ...data], box));
  });
  current = cells;
}
/** @type {(number | null)[][]} */ let current = [];

/** The points of a line that have no neighbour, so that no line shows them. @param {any} plot @param {number} line */
const lonely = (plot, line) => plot.data[line].flatMap((value, at, all) => (value !== null && all[at - 1] == null && all[at + 1] == null ? [at] : []));

/** @param {number} value */
const spanMs = (value) => (value < 1000 ? `${Math.round(value)} ms` : value < 60000 ? `${Math.round(value / 100) / 10} s` : span(value / 1000));

addEventListener("resize", () => plots.forEach((plot) => plot.setSize({ width: plot.root.parentNode.clientWidth - 16, height: 150 })));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
document.addEventListener("tako-shown", () => draw());
document.addEventListener("tako-look", () => draw(true));
draw();
