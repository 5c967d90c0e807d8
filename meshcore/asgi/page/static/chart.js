// Small line charts of the last minutes.

import { h, s } from "./dom.js";
import { duration, perSecond } from "./format.js";

const WIDTH = 300;
const HEIGHT = 80;

function path(values, highest) {
  let drawn = "";
  let pen = "M";
  const step = WIDTH / Math.max(1, values.length - 1);
  values.forEach((value, at) => {
    if (value === null) {
      pen = "M"; // a gap: there were no calls
      return;
    }
    drawn += `${pen}${(at * step).toFixed(1)} ${(HEIGHT - (value / highest) * HEIGHT).toFixed(1)}`;
    // A point between two gaps would be invisible.
    if (pen === "M") drawn += "h0.1";
    pen = "L";
  });
  return drawn;
}

function drawing(lines, title, small) {
  const highest = Math.max(1e-9, ...lines.flat().filter((value) => value !== null));
  const kinds = ["first", "second", "third"];
  return [
    highest,
    s(
      "svg",
      { class: small ? "chart small" : "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      s("path", { class: "axis", d: `M0 ${HEIGHT}H${WIDTH}` }),
      lines.map((values, at) => s("path", { class: kinds[at], d: path(values, highest) })),
    ),
  ];
}

/** A line without axes, for a cell of a table. */
export function sparkline(values, title) {
  return drawing([values], title, true)[1];
}

function chart(title, lines, names, show) {
  const [highest, svg] = drawing(lines, title, false);
  const key = names.map((name, at) => h("span", {}, `${["—", "- -", "···"][at]} ${name}`));
  return h("figure", {}, h("h3", {}, title), svg, h("div", { class: "key" }, ...key, h("span", {}, `top: ${show(highest)}`)));
}

/** The charts of one method. */
export function charts(history) {
  const minutes = Math.round((history.step * history.calls.length) / 60);
  const rate = history.calls.map((count) => count / history.step);
  const failed = history.failed.map((count) => count / history.step);
  return h(
    "div",
    { class: "charts" },
    chart(`Calls, last ${minutes} min`, [rate, failed], ["calls", "failed"], perSecond),
    chart("Latency", [history.p50, history.p95, history.p99], ["p50", "p95", "p99"], duration),
  );
}
