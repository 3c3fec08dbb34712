// Small parts of the view: hints, and the steps from one exchange to the next.

const HINT =
  "Click a point to select its cluster, drag to draw around points, or click a line of the " +
  "legend. Hold Shift to add to the selection. The wheel zooms. A larger point stands for several " +
  "exchanges at one place.";

function hint(text) {
  return h("p", { class: "ck-hint" }, text);
}

function plainButton(name, act) {
  return h("button", { onclick: act }, name);
}

/** The steps from one exchange to the next, by buttons and, as the hint says, by keys. */
function createSteps(step) {
  const position = h("span", { class: "ck-position", "aria-live": "polite" });
  const button = (sign, name, by) =>
    h("button", { title: name, "aria-label": `${name} exchange`, onclick: () => step(by) }, sign);
  const previous = button("‹", "previous", -1);
  const element = h("div", { class: "ck-steps" }, previous, position, button("›", "next", 1));
  const key = (sign) => h("kbd", {}, sign);
  const keys = h("span", { class: "ck-keys" }, key("←"), " ", key("→"), " previous, next");

  /** Show the number of the exchange that is read; nothing where none is selected. */
  function show(current, n) {
    element.hidden = keys.hidden = !n;
    position.textContent = n ? `${thousands(current + 1)} of ${thousands(n)}` : "";
  }

  return { element, keys, show };
}
