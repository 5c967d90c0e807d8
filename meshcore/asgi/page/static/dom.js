// Makes elements, and keeps lists of them in step with lists of values.

const SVG = "http://www.w3.org/2000/svg";

// Control characters, and those that turn the direction of the text that follows: others choose what is shown here.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const seen = (text) => String(text).replace(UNSEEN, "\u00b7");

/** Make an HTML element. Attributes whose name begins with "on" are listeners. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : seen(value));
  }
  element.append(...children.flat().filter((child) => child !== null).map((child) => (child instanceof Node ? child : seen(child))));
  return element;
}

/** Set an attribute only if it changes: the browser then lays out nothing anew. */
export function set(element, name, value) {
  const text = seen(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Set the text only if it changes. */
export function say(element, value) {
  const text = seen(value);
  if (element.textContent !== text) element.textContent = text;
}

/** Show one child for each value, in their order; children are kept by key, so focus and selection stay. */
export function reconcile(parent, values, keyOf, make, update) {
  const known = parent.children_by_key ?? new Map();
  const next = new Map();
  let place = parent.firstElementChild;
  for (const value of values) {
    const key = keyOf(value);
    const child = known.get(key) ?? make(value);
    next.set(key, child);
    update(child, value);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const [key, child] of known) if (!next.has(key)) child.remove();
  parent.children_by_key = next;
}

/** Call `act` on a click, and on Enter and Space, as buttons have it. */
export function pressable(element, act) {
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act(event);
  });
  return element;
}
