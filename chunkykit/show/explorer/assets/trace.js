// The trace of the exchange that is read, and the training rows behind it.

/** Whose trace it is: a cluster or a selection, and the rubric. */
function traceGroup(trace) {
  return trace.positions ? `your selection (${trace.positions.length} exchanges)` : trace.cluster;
}

/** Cluster and rubric of a trace, and a choice where there are several. */
function traceHead(traces, current, choose) {
  const trace = traces[current];
  const group = trace.positions ? "traced" : "cluster";
  const head = h(
    "p",
    { class: "ck-lead" },
    h("span", {}, `${group} `, h("b", {}, oneLine(traceGroup(trace), 90))),
    h("span", {}, "rubric ", h("b", {}, oneLine(trace.rubric, 60))),
  );
  if (traces.length === 1) return head;
  const options = traces.map((other, i) => {
    const trigger = oneLine(other.trigger ?? "no trigger", 60);
    const name = `${oneLine(traceGroup(other), 28)} · ${oneLine(other.rubric, 24)}: ${trigger}`;
    return h("option", { value: i, selected: i === current }, name);
  });
  const act = (event) => choose(Number(event.target.value));
  const label = `Trace ${current + 1} of ${traces.length} of what is selected `;
  return [
    head,
    h("label", { class: "ck-chooser" }, label, h("select", { onchange: act }, options)),
  ];
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
    traceHead(traces, current, choose),
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
    traceHead(traces, current, choose),
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
  const hasSystem = rows.some((row) => row.system);
  const names = ["chunk", ...(hasSystem ? ["system prompt"] : []), "prompt", "response"];
  const head = names.map((name) => h("th", {}, name));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      h("td", {}, breakable(row.chunk)),
      hasSystem ? textCell(row.system, row.system_marks) : null,
      textCell(row.prompt, row.prompt_marks),
      textCell(row.response, row.response_marks),
    ),
  );
  const table = h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  return [h("h4", {}, title), table];
}
