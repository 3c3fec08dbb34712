// The exchanges, the filters and the selection, apart from how they are drawn.

const FIRST_COLOURS = ["cluster", "rubric", "model"]; // categories to colour by, best first

/** The state of a view, made of the packed map. */
function createState(packed) {
  const { x, y, score, columns } = packed;
  const [lowest, highest] = range(score);
  const hasSeveral = (name) => columns[name] && columns[name].labels.length > 1;
  return {
    x,
    y,
    score,
    columns, // category -> { labels, codes: for each exchange the position of its label }
    nPacked: x.length, // exchanges that came with the map; later ones are added behind
    texts: null, // come after the first paint
    lowered: null, // texts in lower case, for the search
    scoreRange: [Math.min(0, lowest), Math.max(100, highest)],
    colour: FIRST_COLOURS.find(hasSeveral) ?? Object.keys(columns)[0],
    filters: {},
    visible: new Uint8Array(x.length).fill(1), // passes the filters
    picked: [], // positions that were selected, visible or not
    chosen: [], // those of them that are visible
    current: 0, // position in `chosen` of the exchange that is read
    trace: 0, // position in the list of traces of the selection
    tab: "reader",
  };
}

/** The categories that tell exchanges apart. */
function severalLabels(state) {
  return Object.entries(state.columns).filter(([, column]) => column.labels.length > 1);
}

/** Positions of the visible exchanges for which a condition holds. */
function visibleWhere(state, condition) {
  const positions = [];
  for (let i = 0; i < state.x.length; i++) {
    if (state.visible[i] && condition(i)) positions.push(i);
  }
  return positions;
}

/** Recompute which exchanges pass the filters. Filters by text need the texts. */
function applyFilters(state) {
  const { filters, columns, score } = state;
  const categories = Object.keys(columns).filter((name) => isPresent(filters[name]));
  const minScore = filters.score > state.scoreRange[0] ? filters.score : null;
  if (filters.text && !state.lowered) {
    const { query, response } = state.texts;
    state.lowered = query.map((text, i) => `${text}\n${response[i]}`.toLowerCase());
  }
  const passes = (i) =>
    (minScore === null || (score[i] !== null && score[i] >= minScore)) &&
    categories.every((name) => columns[name].codes[i] === filters[name]) &&
    (!filters.text || state.lowered[i].includes(filters.text));
  for (let i = 0; i < state.x.length; i++) state.visible[i] = passes(i) ? 1 : 0;
}

/** Add exchanges that the kernel sent after the map. */
function addExchanges(state, exchanges) {
  for (const exchange of exchanges) {
    state.x.push(exchange.x);
    state.y.push(exchange.y);
    state.score.push(exchange.score);
    for (const [name, column] of Object.entries(state.columns)) {
      const label = exchange.labels[name] ?? "none";
      if (!column.labels.includes(label)) column.labels.push(label);
      column.codes.push(column.labels.indexOf(label));
    }
    for (const key of Object.keys(state.texts)) state.texts[key].push(exchange[key] ?? null);
  }
  const visible = new Uint8Array(state.x.length).fill(1);
  visible.set(state.visible);
  state.visible = visible;
  state.lowered = null;
}

/** The traces of the selection: those of selections it overlaps, then those of its clusters. */
function tracesOfSelection(state, traces) {
  const { cluster, rubric } = state.columns;
  const groupSizes = new Map(); // exchanges of each cluster and rubric in the selection
  for (const i of state.chosen) {
    const group = `${cluster?.codes[i]}|${rubric?.codes[i]}`;
    groupSizes.set(group, (groupSizes.get(group) ?? 0) + 1);
  }
  const chosen = new Set(state.chosen);
  const weight = (trace) => {
    // The factor puts every trace of a selection before every trace of a cluster.
    if (trace.positions) return 1e6 * trace.positions.filter((i) => chosen.has(i)).length;
    const clusterCode = cluster?.labels.indexOf(trace.cluster);
    const rubricCode = rubric?.labels.indexOf(trace.rubric);
    return groupSizes.get(`${clusterCode}|${rubricCode}`) ?? 0;
  };
  return traces.filter((trace) => weight(trace) > 0).sort((a, b) => weight(b) - weight(a));
}
