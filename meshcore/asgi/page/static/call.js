// Trying a method out: a form, the answer, its attempts and its time, and the line for a terminal.

import { h, say } from "./dom.js";
import { duration } from "./format.js";

/** A form for one method. The fields come from the contract of its component. */
export function callForm(method, base) {
  const fields = h("div", {}, h("p", { class: "quiet" }, "reads the contract"));
  const answer = h("pre", { hidden: true, tabindex: "0", "aria-live": "polite" });
  const inputs = new Map();
  const form = h("form", { "aria-label": `Call ${method.method}` }, h("h3", {}, "Try it"), fields, h("button", { type: "submit" }, "Call"), answer);

  const target = new URL(`parameters?component=${encodeURIComponent(method.component)}&method=${encodeURIComponent(method.method)}`, base);
  fetch(target).then((response) => response.json()).then((parameters) => {
    fields.replaceChildren(...parameters.map(({ name, type, required, example }) => {
      const input = h("textarea", { rows: Math.min(8, example.split("\n").length), spellcheck: "false", "aria-label": name });
      input.value = required ? example : "";
      inputs.set(name, input);
      return h("label", {}, `${name}: ${type}${required ? "" : " (may be left out)"}`, input);
    }));
    if (!parameters.length) fields.replaceChildren(h("p", { class: "quiet" }, "It takes no arguments."));
  }).catch((error) => say(fields, `The contract cannot be read: ${error.message}`));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.hidden = false;
    const given = {};
    for (const [name, input] of inputs) {
      if (!input.value.trim()) continue;
      try {
        given[name] = JSON.parse(input.value);
      } catch (error) {
        say(answer, `${name} is not JSON: ${error.message}`);
        input.focus();
        return;
      }
    }
    say(answer, "waits for the answer");
    try {
      const response = await fetch(new URL("call", base), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ component: method.component, method: method.method, arguments: given }),
      });
      const text = await response.text();
      say(answer, response.ok ? shown(JSON.parse(text)) : text);
    } catch (error) {
      say(answer, `No answer: ${error.message}`);
    }
  });
  return form;
}

function shown({ result, error, attempts, seconds, line }) {
  const tries = attempts.map((each, at) => `${at + 1}. ${each.instance || "?"}: ${each.outcome}${each.seconds === null ? "" : `, ${duration(each.seconds)}`}`);
  const what = error ? `${error.code}: ${error.message}` : JSON.stringify(result, null, 2);
  return [what, "", `${duration(seconds)}, ${attempts.length} ${attempts.length === 1 ? "attempt" : "attempts"}`, ...tries, "", line].join("\n");
}
