// Labels: what a person says of an exchange, by keys or buttons, and where a page keeps it.

const TARGET_KEYS = { y: "true", n: "false", "?": "unsure" };
const TARGET_NAMES = {
  true: "violation (y)",
  false: "no violation (n)",
  unsure: "unsure (?)",
};
const TARGET_MARKS = { true: "✓", false: "✗", unsure: "?" };
const STORE = "chunkykit-labels"; // one for all pages: an id is the same on each
const LABEL_FIELDS = ["id", "target", "split", "labeller", "note", "drawn"];

/** The buttons and the note of one exchange. */
function labelBar(label, save) {
  const buttons = Object.entries(TARGET_NAMES).map(([target, name]) =>
    h(
      "button",
      {
        class: "ck-label",
        "data-target": target,
        "aria-pressed": String(label?.target === target),
        onclick: () => save({ ...label, target }),
      },
      name,
    ),
  );
  const note = h("input", {
    class: "ck-note",
    placeholder: "note",
    "aria-label": "note",
    maxLength: 2000,
    value: label?.note ?? "",
    onchange: (event) => save({ target: "unsure", ...label, note: event.target.value }, false),
  });
  return h("div", { class: "ck-labels" }, h("span", {}, "You say:"), buttons, note);
}

/** Whether a key is for a field or for the browser, and not for the view. */
function isTyping(event) {
  const inField = event.target.closest?.("input, select, textarea");
  return Boolean(inField) || event.ctrlKey || event.metaKey || event.altKey;
}

/** The labels that this browser keeps; none where it keeps nothing. */
function storedLabels() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

/** Keep labels in this browser. Returns whether that worked. */
function storeLabels(labels) {
  try {
    localStorage.setItem(STORE, JSON.stringify({ ...storedLabels(), ...labels }));
    return true;
  } catch {
    return false; // private windows and full disks
  }
}

/** The labels of some exchanges as CSV, as `chunkykit label --import` reads it. */
function labelsCsv(labels, ids, drawn) {
  const labelled = [...new Set(ids)].filter((id) => labels[id]);
  const rows = labelled.map((id) => [id, labels[id].target, "", "", labels[id].note ?? "", drawn]);
  return csvText([LABEL_FIELDS, ...rows]);
}

/** A button that downloads the labels, for a page, which cannot write into a run folder. */
function downloadButton(labels, ids, drawn) {
  const save = () => saveFile("labels.csv", labelsCsv(labels(), ids(), drawn));
  return h("button", { class: "ck-download", onclick: save }, "Download labels (CSV)");
}

/** The bytes in one of a page's data elements. */
function pageBytes(name) {
  const binary = atob(document.getElementById(name).textContent);
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** What stands for anywidget's model in a page: values, and labels that the browser keeps. */
function pageModel(values) {
  values.labels = storedLabels();
  return {
    get: (key) => values[key],
    set: (key, value) => {
      values[key] = value;
      if (key === "labels") storeLabels(value);
    },
    save_changes() {},
    on() {},
    off() {},
  };
}
