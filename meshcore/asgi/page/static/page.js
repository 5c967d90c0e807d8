// The page: asks for the state of the mesh once a second while it is seen, and shows it.

import { h, s, say, set } from "./dom.js";
import { sparkline } from "./chart.js";
import { details } from "./details.js";
import { draw, glyph, lock, STATES } from "./graph.js";
import { instanceColumns, METHODS, Table } from "./tables.js";

const PERIOD = 1000; // milliseconds between two questions
const PATIENCE = 4000; // until a question is given up
const HISTORY = 10000; // milliseconds between two questions for the last minutes
const base = new URL(".", import.meta.url); // below this all files and answers are

const byId = (id) => document.getElementById(id);
const page = { state: null, history: new Map(), chosen: null, filter: "", seen: 0 };
const keyOfMethod = (each) => `${each.component} ${each.method}`;

const methods = new Table(byId("methods"), METHODS, keyOfMethod, (key) => choose({ kind: "method", key }));
const instances = new Table(byId("instances"), instanceColumns(() => page.state.at), (each) => each.id, (key) => choose({ kind: "instance", key }));

function choose(what) {
  page.chosen = what;
  show();
}

/** Whether one of the texts has the filter in it. */
const has = (...texts) => texts.some((text) => text && text.toLowerCase().includes(page.filter));

function show() {
  const { state, chosen } = page;
  if (!state) return;
  const all = state.components.flatMap((component) => component.instances);
  const shown = all.filter((each) => has(each.id, each.component, each.url, each.version, each.state));
  const listed = state.methods.filter((each) => has(each.component, each.method));
  const names = new Set([...shown, ...listed].map((each) => each.component));
  draw(byId("graph"), state, chosen, (node) => names.has(node.name) || has(node.name), choose);
  methods.show(listed.map((each) => ({ ...each, drawInto: (cell) => drawHistory(cell, each) })), chosen?.key);
  instances.show(shown, chosen?.key);
  byId("no-methods").hidden = listed.length > 0;
  details(byId("details-body"), byId("details-title"), page, base);
}

function drawHistory(cell, each) {
  const history = page.history.get(keyOfMethod(each));
  if (!history || cell.shows === history) return;
  cell.shows = history;
  cell.replaceChildren(sparkline(history.calls, `calls of ${each.method} in the last minutes`));
}

async function ask(path) {
  const response = await fetch(new URL(path, base), { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json();
}

async function look() {
  const begun = performance.now();
  if (!document.hidden) {
    try {
      page.state = await ask("state");
      if (begun - page.seen >= HISTORY || !page.seen) {
        const found = await ask("history");
        page.history = new Map(found.map((each) => [keyOfMethod(each), each]));
        page.seen = begun;
      }
      reach(null);
      show();
    } catch (error) {
      reach(error);
    }
  }
  setTimeout(look, Math.max(100, PERIOD - (performance.now() - begun)));
}

/** Tell whether the instance that serves the page answers, and where else the page is. */
function reach(error) {
  const { state } = page;
  document.body.classList.toggle("stale", error !== null);
  const banner = byId("banner");
  banner.hidden = error === null && !state.problems.length;
  if (error === null) {
    const number = state.components.reduce((sum, each) => sum + each.instances.length, 0);
    say(byId("status"), `${state.components.length} components, ${number} instances, seen by ${state.served_by}`);
    say(banner, state.problems.join(" "));
    page.lost = null;
    return;
  }
  page.lost ??= new Date();
  const since = page.lost.toLocaleTimeString();
  say(byId("status"), `not seen since ${since}`);
  const who = state ? `The instance that serves this page (${state.served_by})` : "The instance that serves this page";
  const others = (state?.also_at ?? []).map((url) => h("a", { href: url }, url));
  const where = others.length ? [" The page is also at ", ...others.flatMap((link, at) => (at ? [", ", link] : [link])), "."] : [" No other instance serves it."];
  // Replaced only if it changes, so that a screen reader says it once.
  const text = `${who} does not answer since ${since} (${error.message}).`;
  if (banner.dataset.says !== text) {
    banner.dataset.says = text;
    banner.replaceChildren(text, ...where);
  }
}

function drawLegend() {
  const signs = Object.entries(STATES).map(([state, words]) => h("li", {}, s("svg", { viewBox: "-7 -7 14 14", "aria-hidden": "true" }, glyph(state)), ` ${words}`));
  const lines = [["busy", "calls succeed"], ["failing", "more than 1 % fail"], ["idle", "no calls"]].map(([kind, words]) =>
    h("li", {}, s("svg", { viewBox: "0 0 14 14", class: `edge ${kind}`, "aria-hidden": "true" }, s("g", { class: `edge ${kind}` }, s("path", { d: "M0 7H14" }))), ` ${words}`));
  const proven = h("li", {}, s("svg", { viewBox: "-7 -7 14 14", "aria-hidden": "true" }, lock()), " the caller's name is proven by a certificate; without it, it is what the caller says");
  const only = h("li", {}, s("svg", { viewBox: "-7 -7 14 14", "aria-hidden": "true" }, s("rect", { class: "only-calls", x: -6, y: -4, width: 12, height: 8, rx: 2 })), " only calls: it serves nothing, so it cannot be asked");
  byId("legend").replaceChildren(...signs, ...lines, proven, only);
}

function setUpTheme() {
  const button = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const name = () => say(button, current() === "dark" ? "Light" : "Dark");
  try {
    const kept = localStorage.getItem("mesh-theme");
    if (kept) set(document.documentElement, "data-theme", kept);
  } catch { /* a browser may forbid it */ }
  button.addEventListener("click", () => {
    const next = current() === "dark" ? "light" : "dark";
    set(document.documentElement, "data-theme", next);
    try { localStorage.setItem("mesh-theme", next); } catch { /* as above */ }
    name();
  });
  name();
}

byId("filter").addEventListener("input", (event) => {
  page.filter = event.target.value.trim().toLowerCase();
  show();
});
document.addEventListener("visibilitychange", show);
drawLegend();
setUpTheme();
look();
