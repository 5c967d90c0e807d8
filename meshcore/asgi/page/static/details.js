// What is known of the one thing that is chosen.

import { charts } from "./chart.js";
import { h, say } from "./dom.js";
import { duration, inWords, percent, perSecond } from "./format.js";
import { called, STATES } from "./graph.js";
import { callForm } from "./call.js";

function list(facts) {
  return h("dl", {}, ...facts.filter(([, value]) => value !== "" && value !== null).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

const ofMethod = {
  find: ({ state, chosen }) => state.methods.find((each) => `${each.component} ${each.method}` === chosen.key),
  title: (each) => `${each.component}: ${each.method}`,
  body(each, { state, history, chosen }, base) {
    const callers = each.callers.map(({ caller, proven, now }) => h("li", {}, `${caller}${proven ? ", proven by a certificate" : ""}: ${inWords(now)}`));
    const errors = each.errors.map((error) => [`${error.kind} (${error.count})`, error.last || "–"]);
    const known = history.get(chosen.key);
    return [
      list([
        ["now", inWords(each.now)], ["p50, p95", `${duration(each.now.p50)}, ${duration(each.now.p95)}`],
        ["attempts", String(each.attempts)], ["retries, hedges", `${each.retries}, ${each.hedges}`],
      ]),
      known ? charts(known) : null,
      h("h3", {}, "Callers"), callers.length ? h("ul", {}, ...callers) : h("p", { class: "quiet" }, "nobody in the last seconds"),
      h("h3", {}, "Errors since the start"), errors.length ? list(errors) : h("p", { class: "quiet" }, "none"),
    ];
  },
  extra: (each, { state }, base) => (state.read_only ? null : callForm(each, base)),
};

const ofInstance = {
  find: ({ state, chosen }) => state.components.flatMap((each) => each.instances).find((each) => each.id === chosen.key),
  title: (each) => each.id,
  body(each) {
    return [
      list([
        ["component", each.component], ["state", STATES[each.state] ?? each.state], ["why", each.why], ["health", each.health],
        ["version", each.version], ["zone", each.zone], ["weight", String(each.weight)], ["contract", each.digest],
        ["calls", inWords(each.now)], ["running", String(each.active)], ["channels", each.channels.join(", ")], ["address", each.url],
      ]),
    ];
  },
  extra: (each, { state }, base) => instanceActions(each, state, base),
};

const ofComponent = {
  find: ({ state, chosen }) => state.components.find((each) => each.name === chosen.key),
  title: (each) => each.name,
  body(each, { state }) {
    const versions = new Map();
    for (const { version, digest } of each.instances) {
      const key = `${version || "no version"}, contract ${digest.slice(0, 12) || "unknown"}`;
      versions.set(key, (versions.get(key) ?? 0) + 1);
    }
    const edges = state.edges.filter((edge) => edge.caller === each.name || edge.component === each.name);
    return [
      list([["calls", perSecond(each.now.calls)], ["success", percent(each.now.success)], ["p50, p95, p99", `${duration(each.now.p50)}, ${duration(each.now.p95)}, ${duration(each.now.p99)}`]]),
      h("h3", {}, "Versions"), h("ul", {}, ...[...versions].map(([name, count]) => h("li", {}, `${name}: ${count} instances`))),
      h("h3", {}, "Calls"), h("ul", {}, ...edges.map((edge) => h("li", {}, called(edge)))),
    ];
  },
};

const ofCaller = {
  find: ({ state, chosen }) => (state.callers.includes(chosen.key) ? { name: chosen.key } : undefined),
  title: (each) => each.name,
  body: (each, { state }) => [
    h("p", {}, "It calls, and serves nothing."),
    h("ul", {}, ...state.edges.filter((edge) => edge.caller === each.name).map((edge) => h("li", {}, `${edge.component}: ${inWords(edge.now)}`))),
  ],
};

const KINDS = { method: ofMethod, instance: ofInstance, component: ofComponent, caller: ofCaller };

/** The report and the contract of an instance, fetched when asked for; in a demonstration, its end and a new start. */
function instanceActions(each, state, base) {
  const shown = h("pre", { hidden: true, tabindex: "0" });
  const get = async (what) => {
    const response = await fetch(new URL(`${what}?instance=${encodeURIComponent(each.id)}`, base));
    const text = await response.text();
    shown.hidden = false;
    try {
      say(shown, JSON.stringify(JSON.parse(text), null, 2));
    } catch {
      say(shown, text);
    }
  };
  const button = (name, act) => h("button", { type: "button", onclick: act }, name);
  const buttons = [button("Report", () => get("report")), " ", button("Contract", () => get("contract"))];
  if (state.demo) {
    const tell = (what) => fetch(new URL(`demo/${what}`, base), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ instance: each.id }) });
    buttons.push(" ", button("Kill this server", () => tell("kill")), " ", button("Start a server", () => tell("start")));
  }
  return h("div", {}, h("h3", {}, "More"), ...buttons, shown);
}

/** Show the chosen thing. Its form stays as it is while its numbers change. */
export function details(body, title, page, base) {
  const { chosen, state } = page;
  if (!chosen) return;
  const kind = KINDS[chosen.kind];
  const found = kind.find(page);
  if (body.shows !== `${chosen.kind} ${chosen.key}`) {
    body.shows = `${chosen.kind} ${chosen.key}`;
    body.facts = h("div");
    body.replaceChildren(body.facts, (found && kind.extra?.(found, page, base)) ?? "");
  }
  say(title, found ? kind.title(found) : chosen.key);
  body.facts.replaceChildren(...(found ? kind.body(found, page, base).filter((each) => each !== null) : [h("p", { class: "quiet" }, "It is gone.")]));
}
