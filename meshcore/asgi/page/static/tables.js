// The tables of methods and of instances, sorted by a column, filtered by a text.

import { h, reconcile, say, set } from "./dom.js";
import { age, duration, percent, perSecond } from "./format.js";
import { STATES } from "./graph.js";

/** A table that keeps its order and its rows between two updates. */
export class Table {
  constructor(element, columns, keyOf, choose) {
    this.body = element.tBodies[0];
    this.columns = columns;
    this.keyOf = keyOf;
    this.choose = choose;
    this.sorted = null; // [index of the column, 1 or -1]
    this.heads = columns.map((column, at) =>
      h("th", { scope: "col", class: column.number ? "number" : null }, h("button", { type: "button", onclick: () => this.sortBy(at) }, column.name)));
    element.tHead.rows[0].replaceChildren(...this.heads);
    this.last = null;
  }

  sortBy(at) {
    const descending = this.columns[at].number ? -1 : 1;
    this.sorted = this.sorted?.[0] === at ? [at, -this.sorted[1]] : [at, descending];
    this.heads.forEach((head, index) => {
      if (index === at) head.setAttribute("aria-sort", this.sorted[1] > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    if (this.last) this.show(...this.last);
  }

  show(values, chosen) {
    this.last = [values, chosen];
    const rows = [...values];
    if (this.sorted) {
      const [at, way] = this.sorted;
      const of = this.columns[at].value;
      rows.sort((a, b) => way * compare(of(a), of(b)));
    }
    reconcile(this.body, rows, this.keyOf, (value) => this.row(value), (row, value) => this.update(row, value, chosen));
  }

  row(value) {
    const key = this.keyOf(value);
    return h("tr", {}, ...this.columns.map((column, at) =>
      h("td", { class: column.number ? "number" : null }, at ? null : h("button", { type: "button", onclick: () => this.choose(key) }))));
  }

  update(row, value, chosen) {
    set(row, "aria-selected", this.keyOf(value) === chosen);
    this.columns.forEach((column, at) => {
      const cell = row.cells[at];
      if (column.draw) column.draw(cell, value);
      else say(at ? cell : cell.firstElementChild, column.shown ? column.shown(value) : String(column.value(value)));
      if (column.kind) set(cell, "class", `${column.number ? "number " : ""}${column.kind(value)}`);
    });
  }
}

function compare(a, b) {
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : -1;
  if (b === null || b === undefined) return 1;
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

const time = (name) => ({ name, number: true, value: (each) => each.now[name], shown: (each) => duration(each.now[name]) });

export const METHODS = [
  { name: "method", value: (each) => each.method },
  { name: "component", value: (each) => each.component },
  { name: "calls", number: true, value: (each) => each.now.calls, shown: (each) => perSecond(each.now.calls) },
  {
    name: "success", number: true, value: (each) => each.now.success, shown: (each) => percent(each.now.success),
    kind: (each) => (each.now.success !== null && each.now.success < 0.99 ? "failed" : ""),
  },
  time("p50"), time("p95"), time("p99"),
  { name: "last 15 min", value: (each) => each.now.calls, draw: (cell, each) => each.drawInto(cell) },
  { name: "retries", number: true, value: (each) => each.retries },
  { name: "hedges", number: true, value: (each) => each.hedges },
  {
    name: "last errors", value: (each) => each.errors.length, shown: (each) => each.errors.map((error) => `${error.kind} ${error.count}`).join(", "),
  },
];

export function instanceColumns(now) {
  return [
    { name: "instance", value: (each) => each.id },
    { name: "component", value: (each) => each.component },
    { name: "state", value: (each) => each.state, shown: (each) => STATES[each.state] ?? each.state, kind: (each) => `state-${each.state}` },
    { name: "health", value: (each) => each.health },
    { name: "version", value: (each) => each.version || "–" },
    { name: "zone", value: (each) => each.zone || "–" },
    { name: "weight", number: true, value: (each) => each.weight },
    { name: "calls", number: true, value: (each) => each.now.calls, shown: (each) => perSecond(each.now.calls) },
    { name: "running", number: true, value: (each) => each.active },
    { name: "age", number: true, value: (each) => -each.started, shown: (each) => age(each.started, now()) },
    { name: "address", value: (each) => each.url },
  ];
}
