// The reader: a list of the selection, and one exchange in full, to be labelled.

const MAX_LISTED = 200; // exchanges listed in the reader at once
const VIOLATION = 50; // the score above which a judge sees a violation

/** What the reader shows. */
function readerContent(state, read, labels, saveLabel) {
  const i = readExchangeOf(state);
  const id = state.texts.id?.[i];
  return [
    h("div", { class: "ck-list" }, listedExchanges(state, read, labels)),
    h("p", { class: "ck-facts" }, exchangeFacts(state, i)),
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
      "aria-current": position === state.current ? "true" : null,
      onclick: () => read(position),
    };
    const query = oneLine(state.texts.query[i], 90);
    const target = labels[state.texts.id?.[i]]?.target;
    const mark = target ? h("i", { title: TARGET_NAMES[target] }, TARGET_MARKS[target]) : null;
    return h("button", properties, h("b", {}, score), mark, h("span", {}, query));
  });
}

/** Score, cluster and rubric of an exchange, and what else tells exchanges apart. */
function exchangeFacts(state, i) {
  const first = ["cluster", "rubric"];
  const rank = ([name]) => (first.includes(name) ? 0 : 1);
  const columns = severalLabels(state).sort((a, b) => rank(a) - rank(b));
  const facts = columns.map(([name, { labels, codes }]) => {
    const label = oneLine(labelName(name, labels[codes[i]]), 80);
    return `${categoryName(name)}: ${label}`;
  });
  return [`score ${scoreText(state.score[i])}`, ...facts].join(" · ");
}

function scoreText(score) {
  return isPresent(score) ? `${Math.round(score)}` : "n/a";
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
  const translated = (side) => {
    const text = texts[`${side}_translation`]?.[i];
    return text && text.trim() !== texts[side][i].trim() ? [spelledOut(text)] : null;
  };
  return [
    foldedSection("System prompt", texts.system?.[i]),
    section("Query", [spelledOut(texts.query[i])], "ck-query"),
    section("Query, translated", translated("query")),
    texts.others ? besideContent(state, i) : responseSection(state, i),
    section("Response, translated", translated("response")),
    section("The same request in the other framing", spelledText(texts.pair_query?.[i])),
    section("Response to that", spelledText(texts.pair_response?.[i]), "ck-response"),
    foldedSection("Thinking of the model, which nobody judged", texts.thinking?.[i]),
    texts.others ? null : section("Why the judge gave this score", spelledText(texts.reason?.[i])),
    section("Where it is from", spelledText(texts.place?.[i])),
    section("Crux", bulletList(texts.crux?.[i])),
    section("Attributes of the query", bulletList(texts.query_attributes?.[i])),
    section("Attributes of the response", bulletList(texts.response_attributes?.[i])),
  ];
}

function responseSection(state, i) {
  const marks = state.texts.marks?.[i];
  const title = marks?.length ? "Response with its crux marked" : "Response";
  return section(title, marked(state.texts.response[i], marks), "ck-response");
}

// two models on one query

/** The name of the model whose answers stand beside the failures. */
function otherModel({ texts }) {
  return texts.others.find((answers) => answers?.length)?.[0].model ?? "the other model";
}

/** The answers of both models to one query, each with its judgement. */
function besideContent(state, i) {
  const { texts, columns, score } = state;
  const own = {
    model: columns.model.labels[columns.model.codes[i]],
    judge: texts.judge?.[i],
    score: score[i],
    reason: texts.reason?.[i],
  };
  const others = texts.others[i] ?? [];
  const other = otherModel(state);
  return h(
    "div",
    { class: "ck-beside" },
    answerBox(own, marked(texts.response[i], texts.marks?.[i])),
    h(
      "div",
      {},
      others.length
        ? others.map((answer) => answerBox(answer, [spelledOut(answer.response)]))
        : h("p", { class: "ck-hint" }, `${oneLine(other, 60)} was not asked this.`),
    ),
  );
}

function answerBox({ model, judge, score, reason }, content) {
  const fails = score > VIOLATION;
  const outcome = fails ? "fails" : "does not fail";
  const said = reason ? `: ${spelledOut(reason)}` : "";
  return h(
    "section",
    { class: fails ? "ck-response" : "ck-response ck-passes" },
    h("h4", {}, `${oneLine(model, 60)} ${outcome} · score ${scoreText(score)}`),
    h("div", { class: "ck-text", dir: "auto" }, content),
    h("p", { class: "ck-fine" }, `Judge ${oneLine(judge ?? "", 40)}${said}`),
  );
}
