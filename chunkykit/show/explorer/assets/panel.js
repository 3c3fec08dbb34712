// The panel beside the map: the reader, the trace and the training rows.

const MAX_LISTED = 200; // exchanges listed in the reader at once
const CATEGORY_NAMES = { chunk: "traced chunk" }; // where the name differs from the column's

function categoryName(column) {
  return CATEGORY_NAMES[column] ?? column;
}

// the reader

/** What the reader shows: a list of the selection, and one exchange in full, to be labelled. */
function readerContent(state, read, labels, saveLabel) {
  const i = state.chosen[state.current];
  const id = state.texts.id?.[i];
  return [
    h("div", { class: "ck-list" }, listedExchanges(state, read, labels)),
    readerNavigation(state, i, read),
    id ? labelBar(labels[id], saveLabel) : null,
    ...exchangeSections(state, i),
  ].filter(Boolean);
}

/** A line per exchange around the one that is read. */
function listedExchanges(state, read, labels) {
  const last = state.chosen.length - MAX_LISTED;
  const start = Math.max(0, Math.min(state.current - MAX_LISTED / 2, last));
  return state.chosen.slice(start, start + MAX_LISTED).map((i, k) => {
    const position = start + k;
    const score = state.score[i] === null ? "–" : `${Math.round(state.score[i])}`;
    const properties = {
      class: position === state.current ? "ck-item ck-here" : "ck-item",
      onclick: () => read(position),
    };
    const query = oneLine(state.texts.query[i], 90);
    const target = labels[state.texts.id?.[i]]?.target;
    const mark = target ? h("i", { title: TARGET_NAMES[target] }, TARGET_MARKS[target]) : null;
    return h("button", properties, h("b", {}, score), mark, h("span", {}, query));
  });
}

function readerNavigation(state, i, read) {
  const n = state.chosen.length;
  const step = (by) => () => read((state.current + by + n) % n);
  // Categories with several labels first; those with one say the same of every exchange.
  const columns = Object.entries(state.columns);
  const several = columns.filter(([, column]) => column.labels.length > 1);
  const single = columns.filter(([, column]) => column.labels.length === 1);
  const facts = [...several, ...single].map(
    ([name, { labels, codes }]) => `${categoryName(name)}: ${oneLine(labels[codes[i]], 80)}`,
  );
  return h(
    "div",
    { class: "ck-nav" },
    h("button", { title: "previous", onclick: step(-1) }, "‹"),
    h("span", {}, `${thousands(state.current + 1)} of ${thousands(n)}`),
    h("button", { title: "next", onclick: step(1) }, "›"),
    h("span", { class: "ck-facts" }, [`score ${state.score[i] ?? "n/a"}`, ...facts].join(" · ")),
  );
}

function section(label, content, className = "") {
  if (!content || !content.length) return null;
  const text = h("div", { class: "ck-text", dir: "auto" }, content);
  return h("section", { class: className }, h("h4", {}, label), text);
}

/** The content of a section with a text; null where there is none. */
function spelledText(text) {
  return text && text.trim() ? [spelledOut(text)] : null;
}

/** A section that a click opens. */
function foldedSection(label, text) {
  if (!text || !text.trim()) return null;
  const content = h("div", { class: "ck-text", dir: "auto" }, [spelledOut(text)]);
  return h("details", { class: "ck-fold" }, h("summary", {}, label), content);
}

function bulletList(sentences) {
  if (!sentences || !sentences.length) return null;
  return [
    h(
      "ul",
      {},
      sentences.map((sentence) => h("li", {}, spelledOut(sentence))),
    ),
  ];
}

/** The sections of the reader for exchange i; null for those that have nothing to show. */
function exchangeSections(state, i) {
  const { texts } = state;
  const marks = texts.marks?.[i];
  const reason = texts.reason?.[i];
  const translated = (side) => {
    const text = texts[`${side}_translation`]?.[i];
    return text && text.trim() !== texts[side][i].trim() ? [spelledOut(text)] : null;
  };
  return [
    foldedSection("System prompt", texts.system?.[i]),
    section("Query", [spelledOut(texts.query[i])], "ck-query"),
    section("Query, translated", translated("query")),
    section(
      marks?.length ? "Response with its crux marked" : "Response",
      marked(texts.response[i], marks),
      "ck-response",
    ),
    section("Response, translated", translated("response")),
    section("The same request in the other framing", spelledText(texts.pair_query?.[i])),
    section("Response to that", spelledText(texts.pair_response?.[i]), "ck-response"),
    foldedSection("Thinking of the model, which nobody judged", texts.thinking?.[i]),
    section("Why the judge gave this score", reason ? [spelledOut(reason)] : null),
    section("Where it is from", spelledText(texts.place?.[i])),
    section("Crux", bulletList(texts.crux?.[i])),
    section("Attributes of the query", bulletList(texts.query_attributes?.[i])),
    section("Attributes of the response", bulletList(texts.response_attributes?.[i])),
  ];
}

// the trace

function traceName(trace) {
  const group = trace.positions
    ? `your selection (${trace.positions.length} exchanges)`
    : `cluster: ${oneLine(trace.cluster, 40)}`;
  return `${group} · ${trace.rubric}: ${oneLine(trace.trigger ?? "no trigger", 70)}`;
}

/** The name of the trace, as a choice where the selection has several. */
function traceChooser(traces, current, choose) {
  if (traces.length === 1) return h("p", { class: "ck-chooser" }, traceName(traces[0]));
  const options = traces.map((trace, i) =>
    h("option", { value: i, selected: i === current }, traceName(trace)),
  );
  const select = h("select", { onchange: (event) => choose(Number(event.target.value)) }, options);
  return h("label", { class: "ck-chooser" }, `trace ${current + 1} of ${traces.length} `, select);
}

/** A labelled bar of a share, with its text behind. */
function shareBar(label, share, text, className) {
  const width = Math.max(0.4, 100 * Math.min(1, share || 0));
  return h(
    "div",
    { class: `ck-pair ${className}` },
    h("span", {}, label),
    h("span", { class: "ck-track" }, h("i", { style: `width:${width}%` })),
    h("b", {}, text),
  );
}

function finePrint(...content) {
  return h("p", { class: "ck-fine" }, ...content);
}

function traceContent(traces, current, choose) {
  const trace = traces[current];
  const note = trace.ablation
    ? "95 % Wilson intervals."
    : "A trace shows co-occurrence in the training rows, not cause. An ablation tests cause.";
  return [
    traceChooser(traces, current, choose),
    h("p", { class: "ck-explained" }, spelledOut(trace.explanation)),
    trace.trigger ? triggerContent(trace) : [],
    trace.trigger && trace.chunks.length ? chunkContent(trace.chunks) : [],
    trace.ablation ? ablationContent(trace.ablation) : [],
    finePrint(note),
  ];
}

function triggerContent(trace) {
  const share = trace.hits / trace.k;
  const base = share / trace.lift;
  const hits = `about ${thousands(Math.round(trace.hits))} of ${thousands(Math.round(trace.k))}`;
  const withTrigger = percent(trace.p_crux_given_trigger);
  const without = percent(trace.p_crux_without, 1);
  const byHits = trace.trigger_by_hits;
  const other =
    byHits && byHits !== trace.trigger
      ? ` · by raw hits the trigger would be: ${spelledOut(byHits)}`
      : "";
  return [
    h("h4", {}, "Rows with the crux beside the base rate"),
    shareBar("rows with the crux that have the trigger", share, hits, "main"),
    shareBar("all rows with the trigger (base rate)", base, percent(base, 1), "base"),
    finePrint(separationText(trace)),
    finePrint(
      `lift ${trace.lift.toFixed(1)}, adjusted p ${trace.p_value.toExponential(0)} · `,
      `the crux is in ${withTrigger} of the rows with the trigger and in ${without} of those without`,
    ),
    finePrint(`crux: ${spelledOut(trace.crux)}`, other),
  ];
}

function separationText(trace) {
  const digits = (value) => value.toFixed(2);
  const { separation: auc, separation_low: low, separation_high: high } = trace;
  const author = trace.trigger_from;
  const isWritten = author && author !== "query" && author !== "row"; // by a model
  const trigger = isWritten ? `the trigger, which ${spelledOut(author)} wrote,` : "the trigger";
  return (
    `${trigger} tells rows with the crux from the others: ` +
    `AUC ${digits(auc)} [${digits(low)}, ${digits(high)}], .5 is chance`
  );
}

function chunkContent(chunks) {
  const bars = chunks
    .slice(0, 5)
    .map((chunk) =>
      h(
        "div",
        { class: "ck-chunk" },
        h("b", {}, spelledOut(chunk.chunk)),
        shareBar("of the evidence", chunk.share, percent(chunk.share), "main"),
        shareBar("of the mixture", chunk.base_share, percent(chunk.base_share, 1), "base"),
      ),
    );
  return [h("h4", {}, "Chunks behind the trace, beside their share of the mixture"), bars];
}

function ablationContent(ablation) {
  const text = (rate, low, high) =>
    `${percent(rate)} [${percent(low)}, ${percent(high)}], n = ${ablation.n}`;
  const { rate_before: before, before_low: beforeLow, before_high: beforeHigh } = ablation;
  const { rate_after: after, low, high } = ablation;
  return [
    h("h4", {}, `Retrained without ${spelledOut(ablation.chunk)}`),
    shareBar("failure rate before", before, text(before, beforeLow, beforeHigh), "before"),
    shareBar("failure rate after", after, text(after, low, high), "after"),
  ];
}

// the training rows

function rowsContent(traces, current, choose) {
  const { examples } = traces[current];
  return [
    traceChooser(traces, current, choose),
    exampleTable("Evidence: rows with the trigger and the crux", examples, "evidence"),
    exampleTable(
      "Counter-examples: rows with the trigger but without the crux",
      examples,
      "counter-example",
    ),
  ];
}

function exampleTable(title, examples, kind) {
  const rows = examples.filter((example) => example.kind === kind);
  if (!rows.length) return [h("h4", {}, title), finePrint("none")];
  const textCell = (text, places) =>
    h("td", { dir: "auto" }, h("div", { class: "ck-cell" }, marked(text, places)));
  const head = ["chunk", "prompt", "response"].map((name) => h("th", {}, name));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      h("td", {}, spelledOut(row.chunk)),
      textCell(row.prompt, row.prompt_marks),
      textCell(row.response, row.response_marks),
    ),
  );
  const table = h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  return [h("h4", {}, title), table];
}
