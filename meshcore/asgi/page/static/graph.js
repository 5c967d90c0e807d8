// The picture of who calls whom: callers left, what they call to the right of them.

import { pressable, reconcile, s, say, set } from "./dom.js";
import { inWords, perSecond, percent, duration } from "./format.js";

const WIDTH = 190;
const GAP_X = 120;
const GAP_Y = 26;
const HEAD = 40; // of a box, above its instances
const GLYPH = 15;
const PER_ROW = 11;

export const STATES = {
  admitted: "gets calls",
  new: "new",
  draining: "ends in order",
  ejected: "ejected by a caller",
  gone: "does not answer",
};

/** The sign of a state: each has a shape of its own. */
export function glyph(state) {
  const shapes = {
    admitted: () => s("circle", { r: 4.5 }),
    new: () => s("circle", { r: 4.5 }),
    draining: () => s("path", { d: "M-4 -4H4L0 4Z" }),
    ejected: () => s("path", { d: "M0 -5L5 4H-5Z" }),
    gone: () => s("path", { d: "M-4 -4L4 4M4 -4L-4 4" }),
  };
  const shape = (shapes[state] ?? shapes.gone)();
  shape.setAttribute("class", `glyph ${state}`);
  return shape;
}

/** The sign of a caller whose name was proven: a lock. */
export function lock() {
  return s("g", { class: "lock", "aria-hidden": "true" }, s("path", { d: "M-2.5 -1V-3A2.5 2.5 0 0 1 2.5 -3V-1" }), s("rect", { x: -4, y: -1, width: 8, height: 6, rx: 1 }));
}

/** An edge in words. */
export const called = (edge) => `${edge.caller}${edge.proven ? ", proven by a certificate," : ""} calls ${edge.component}: ${inWords(edge.now)}`;

/** The edges but for those that close a circle: along them a node would be moved for ever. */
function withoutCircles(names, edges) {
  const called = new Map(names.map((name) => [name, []]));
  for (const edge of edges) if (called.has(edge.caller) && called.has(edge.component)) called.get(edge.caller).push(edge);
  const kept = [];
  const state = new Map(); // of a node: "open" while what it calls is visited, then "done"
  for (const root of names) {
    const path = state.has(root) ? [] : [[root, 0]];
    state.set(root, state.get(root) ?? "open");
    while (path.length) {
      const top = path.at(-1);
      const edge = called.get(top[0])[top[1]];
      top[1] += 1;
      if (!edge) {
        state.set(top[0], "done");
        path.pop();
      } else if (state.get(edge.component) !== "open") {
        kept.push(edge);
        if (!state.has(edge.component)) {
          state.set(edge.component, "open");
          path.push([edge.component, 0]);
        }
      }
    }
  }
  return kept;
}

/** Place each node in the column after its callers. */
export function columns(names, edges) {
  const column = new Map(names.map((name) => [name, 0]));
  const forward = withoutCircles(names, edges);
  for (let round = 0; round < names.length; round += 1) {
    let moved = false;
    for (const { caller, component } of forward) {
      const wanted = column.get(caller) + 1;
      if (wanted > column.get(component)) {
        column.set(component, wanted);
        moved = true;
      }
    }
    if (!moved) break;
  }
  return column;
}

function placed(nodes, edges) {
  const column = columns(nodes.map((node) => node.name), edges);
  const next = new Map();
  const order = [...new Set(column.values())].sort((a, b) => a - b);
  for (const node of nodes) {
    const at = order.indexOf(column.get(node.name));
    const y = next.get(at) ?? 8;
    node.height = HEAD + Math.max(1, Math.ceil(node.instances.length / PER_ROW)) * GLYPH + 6;
    node.x = 8 + at * (WIDTH + GAP_X);
    node.y = y;
    next.set(at, y + node.height + GAP_Y);
  }
  return { width: order.length * (WIDTH + GAP_X) - GAP_X + 16, height: Math.max(60, ...next.values()) };
}

function makeNode(node, choose) {
  const made = s(
    "g",
    { class: "node", tabindex: "0", role: "button" },
    s("rect", { class: "box", width: WIDTH, rx: 8 }),
    s("text", { class: "name", x: 10, y: 17 }),
    s("text", { class: "facts", x: 10, y: 32 }),
    s("g", { class: "instances" }),
  );
  return pressable(made, () => choose({ kind: node.caller ? "caller" : "component", key: node.name }));
}

function updateNode(element, node, chosen, matches) {
  const [box, name, facts, instances] = element.children;
  const failing = node.now.success !== null && node.now.success < 0.99;
  const classes = ["node", node.caller && "caller", failing && "failing", chosen && "chosen", !matches && "dimmed"];
  set(element, "class", classes.filter(Boolean).join(" "));
  set(element, "transform", `translate(${node.x} ${node.y})`);
  set(box, "height", node.height);
  say(name, node.name.length > 24 ? `${node.name.slice(0, 23)}…` : node.name);
  say(facts, node.caller ? "only calls" : `${perSecond(node.now.calls)}  ${percent(node.now.success)}  p99 ${duration(node.now.p99)}`);
  const bad = node.instances.filter((each) => each.state !== "admitted" && each.state !== "new").length;
  const told = node.caller ? "a process that only calls" : `${inWords(node.now)}, ${node.instances.length} instances, ${bad} of them not well`;
  set(element, "aria-label", `${node.name}: ${told}`);
  reconcile(
    instances,
    node.instances.map((each, at) => ({ ...each, at })),
    (each) => each.id,
    () => s("g", {}, s("title")),
    (child, each) => {
      set(child, "transform", `translate(${16 + (each.at % PER_ROW) * GLYPH} ${HEAD + 7 + Math.floor(each.at / PER_ROW) * GLYPH})`);
      if (child.state !== each.state) {
        child.state = each.state;
        child.replaceChildren(s("title"), glyph(each.state));
      }
      say(child.firstChild, `${each.id}: ${STATES[each.state]}`);
    },
  );
}

function updateEdge(element, edge, at) {
  const [path, text, sign] = element.children;
  const from = at.get(edge.caller);
  const to = at.get(edge.component);
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + from.height / 2, to.x, to.y + to.height / 2];
  const bend = Math.max(40, Math.abs(x2 - x1) / 2);
  const back = x2 <= x1; // to the same column or to the left: around the boxes
  const low = Math.max(from.y + from.height, to.y + to.height) + 14;
  set(path, "d", back ? `M${x1} ${y1}C${x1 + 50} ${low} ${x2 - 50} ${low} ${x2} ${y2}` : `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`);
  const failing = edge.now.success !== null && edge.now.success < 0.99;
  const kind = edge.now.calls ? (failing ? "failing" : "busy") : "idle";
  set(element, "class", `edge ${kind}`);
  set(text, "x", (x1 + x2) / 2);
  set(text, "y", (back ? low : (y1 + y2) / 2) - 6);
  say(text, edge.now.calls ? `${perSecond(edge.now.calls)} ${percent(edge.now.success)}` : "");
  set(sign, "transform", `translate(${x1 + 12} ${y1 - 9})`);
  set(sign, "display", edge.proven ? "inline" : "none");
  set(element, "aria-label", called(edge));
  say(element.lastElementChild, called(edge));
}

/** Draw the mesh. `matches` says of a node whether the filter has it. */
export function draw(svg, state, chosen, matches, choose) {
  if (!svg.firstElementChild) {
    svg.append(
      s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" }, s("path", { d: "M0 0L8 4L0 8Z", fill: "currentColor" }))),
      s("g"),
      s("g"),
    );
  }
  const [, lines, boxes] = svg.children;
  const idle = { calls: 0, success: null, p50: null, p95: null, p99: null };
  const nodes = [
    ...state.callers.map((name) => ({ name, caller: true, instances: [], now: idle })),
    ...state.components.map((each) => ({ ...each, caller: false })),
  ];
  const size = placed(nodes, state.edges);
  set(svg, "viewBox", `0 0 ${size.width} ${size.height}`);
  // A small mesh is not drawn larger than its text.
  svg.style.maxWidth = `${size.width * 1.25}px`;
  // Nor is a large one drawn so small that nobody could read it: it is scrolled.
  svg.style.minWidth = `${size.width * 0.7}px`;
  const at = new Map(nodes.map((node) => [node.name, node]));
  const edges = state.edges.filter((edge) => at.has(edge.caller) && at.has(edge.component));
  reconcile(
    lines, edges, (edge) => `${edge.caller}\n${edge.component}\n${edge.proven}`,
    () => s("g", { role: "img" }, s("path", { "marker-end": "url(#tip)" }), s("text", { class: "facts", "text-anchor": "middle" }), lock(), s("title")),
    (element, edge) => updateEdge(element, edge, at),
  );
  reconcile(
    boxes, nodes, (node) => node.name, (node) => makeNode(node, choose),
    (element, node) => updateNode(element, node, chosen?.key === node.name, matches(node)),
  );
}
