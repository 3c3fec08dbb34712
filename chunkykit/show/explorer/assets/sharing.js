// The selection as a file, on the clipboard, or as a link.

const SHARED_TEXTS = ["query", "response", "reason"];
const FORMATS = {
  md: { name: "Markdown", write: markdownOf },
  csv: { name: "CSV", write: csvOf },
  jsonl: { name: "JSON lines", write: jsonLinesOf },
};

/** The selected exchanges as records with the same keys. */
function selectedRecords(state) {
  const { texts } = state;
  return state.chosen.map((i) => {
    const record = { id: texts.id?.[i] ?? null, score: state.score[i] };
    for (const [name, { labels, codes }] of Object.entries(state.columns)) {
      record[name] = labels[codes[i]];
    }
    for (const name of SHARED_TEXTS) record[name] = texts[name]?.[i] ?? null;
    for (const name of ["system", "pair_query", "pair_response"]) {
      if (texts[name]) record[name] = texts[name][i];
    }
    if (texts.others) record.others = texts.others[i] ?? [];
    return record;
  });
}

function jsonLinesOf(records) {
  return records.map((record) => `${JSON.stringify(record)}\n`).join("");
}

function csvOf(records) {
  const names = Object.keys(records[0] ?? {});
  const cell = (value) => (value && typeof value === "object" ? JSON.stringify(value) : value);
  return csvText([names, ...records.map((record) => names.map((name) => cell(record[name])))]);
}

/** Records as Markdown: texts stand in fences longer than any in them, so that they stay texts. */
function markdownOf(records) {
  const inert = (text) => oneLine(text, 120).replace(/[\\`*_{}[\]<>()#+!|&~-]/g, "\\$&");
  const fenced = (text) => {
    const runs = String(text).match(/`+/g) ?? [];
    const fence = "`".repeat(Math.max(3, 1 + Math.max(0, ...runs.map((run) => run.length))));
    return `${fence}text\n${spelledOut(text)}\n${fence}`;
  };
  const section = (name, text) => (text ? [`**${name}**`, fenced(text)] : []);
  return records
    .map((record, k) => {
      const facts = [`score ${scoreText(record.score)}`];
      for (const name of ["cluster", "rubric", "model", "chunk"]) {
        if (record[name]) facts.push(`${name} ${inert(record[name])}`);
      }
      const others = (record.others ?? []).flatMap(({ model, score, response }) =>
        section(`${inert(model)}, score ${scoreText(score)}`, response),
      );
      return [
        `## ${k + 1}`,
        facts.join(" · "),
        ...section("Query", record.query),
        ...section("Response", record.response),
        ...section("Judge", record.reason),
        ...others,
      ].join("\n\n");
    })
    .join("\n\n")
    .concat("\n");
}

/** The controls that copy and download the selection. `link()` is its link, "" where none is. */
function createSharing(state, link) {
  const format = h(
    "select",
    { "aria-label": "form of the selection" },
    Object.entries(FORMATS).map(([value, { name }]) => h("option", { value }, name)),
  );
  const note = h("span", { class: "ck-note-line", "aria-live": "polite" });
  const count = () => `${thousands(state.chosen.length)} exchange${state.chosen.length === 1 ? "" : "s"}`;

  /** The selection in the chosen form; null where nothing is selected. */
  function text() {
    if (state.chosen.length && state.texts) return FORMATS[format.value].write(selectedRecords(state));
    note.textContent = "Select something first.";
    return null;
  }

  async function copy() {
    const content = text();
    if (content === null) return;
    const copied = await copyText(content, element);
    note.textContent = copied ? `Copied ${count()}.` : "The browser does not let this page copy.";
  }

  function download() {
    const content = text();
    if (content === null) return;
    saveFile(`selection.${format.value}`, content);
    note.textContent = `Saved ${count()}.`;
  }

  async function copyLink() {
    const address = link();
    if (!address) {
      note.textContent = state.picked.length
        ? `A link holds a whole category or up to ${MAX_LINKED} exchanges with ids.`
        : "Select something first.";
      return;
    }
    const copied = await copyText(address, element);
    note.textContent = copied ? "Copied the link." : address;
  }

  const button = (name, title, act) =>
    h("button", { class: `ck-${name}`, title, onclick: act }, title);
  const element = h(
    "div",
    { class: "ck-share", role: "group", "aria-label": "share the selection" },
    h("span", {}, "Selection as"),
    format,
    button("copy", "Copy", copy),
    button("save", "Download", download),
    button("link", "Copy link", copyLink),
    note,
  );
  return element;
}
