// The exchanges, the filters and the selection, apart from how they are drawn.

// Categories to colour by, best first
const FIRST_COLOURS = ["chunk", "cluster", "rubric", "model"];
const CATEGORY_NAMES = { chunk: "traced chunk", other: "other model" }; // where they differ
const NO_LABEL = "none"; // of an exchange that a category does not apply to
const NO_LABEL_NAMES = { chunk: "no traced chunk" };

function categoryName(column) {
  return CATEGORY_NAMES[column] ?? column;
}

/** A label of a category as a person reads it. */
function labelName(column, label) {
  return (label === NO_LABEL && NO_LABEL_NAMES[column]) || label;
}

/** The state of a view, made of the packed map. */
function createState(packed) {
  const { x, y, score, columns } = packed;
  const [lowest, highest] = range(score);
  const hasSeveral = (name) => columns[name] && columns[name].labels.length > 1;
  const state = {
    x,
    y,
    score,
    columns, // category -> { labels, codes: for each exchange the position of its label }
    ownTrace: packed.trace ?? [], // for each exchange the position of its trace, or null
    nPacked: x.length, // exchanges that came with the map; later ones are added behind
    texts: null, // come after the first paint
    lowered: null, // texts in lower case, for the search
    scoreRange: [Math.min(0, lowest), Math.max(100, highest)],
    hasScores: highest > lowest,
    colour: FIRST_COLOURS.find(hasSeveral) ?? Object.keys(columns)[0],
    filters: {},
    visible: new Uint8Array(x.length).fill(1), // passes the filters
    picked: [], // positions that were selected, visible or not
    chosen: [], // those of them that are visible
    current: 0, // position in `chosen` of the exchange that is read
    trace: 0, // position in the list of traces of that exchange
    tab: "reader",
    place: [], // for each exchange the number of its place on the map
    placeSizes: [], // for each place its exchanges, shown or not
  };
  numberPlaces(state);
  return state;
}

/** Number the places on the map: exchanges with equal coordinates share one. */
function numberPlaces(state) {
  const numbers = new Map();
  state.place = state.x.map((x, i) => {
    const key = `${x} ${state.y[i]}`;
    if (!numbers.has(key)) numbers.set(key, numbers.size);
    return numbers.get(key);
  });
  state.placeSizes = new Uint32Array(numbers.size);
  for (const place of state.place) state.placeSizes[place]++;
}

/** The exchange that is read; undefined where nothing is selected. */
function readExchangeOf(state) {
  return state.chosen[state.current];
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

function countVisible(state) {
  return state.visible.reduce((sum, isVisible) => sum + isVisible, 0);
}

// the filters

/** The minimum score that filters; null where every score passes. */
function minScoreOf({ filters, scoreRange }) {
  return filters.score > scoreRange[0] ? filters.score : null;
}

/** Recompute which exchanges pass the filters. Filters by text need the texts. */
function applyFilters(state) {
  const { filters, columns, score } = state;
  const categories = Object.keys(columns).filter((name) => isPresent(filters[name]));
  const minScore = minScoreOf(state);
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

/** The filters that are set, in words. */
function filtersInWords(state) {
  const { filters, columns } = state;
  const words = Object.keys(columns)
    .filter((name) => isPresent(filters[name]))
    .map((name) => {
      const label = labelName(name, columns[name].labels[filters[name]]);
      return `${categoryName(name)} ${oneLine(label, 40)}`;
    });
  const minScore = minScoreOf(state);
  if (minScore !== null) words.push(`score from ${minScore}`);
  if (filters.text) words.push(`text “${oneLine(filters.text, 40)}”`);
  return words;
}

// what comes later

/** Add exchanges that the kernel sent after the map. */
function addExchanges(state, exchanges) {
  for (const exchange of exchanges) {
    state.x.push(exchange.x);
    state.y.push(exchange.y);
    state.score.push(exchange.score);
    state.ownTrace.push(exchange.trace ?? null);
    for (const [name, column] of Object.entries(state.columns)) {
      const label = exchange.labels[name] ?? NO_LABEL;
      if (!column.labels.includes(label)) column.labels.push(label);
      column.codes.push(column.labels.indexOf(label));
    }
    for (const key of Object.keys(state.texts)) state.texts[key].push(exchange[key] ?? null);
  }
  const visible = new Uint8Array(state.x.length).fill(1);
  visible.set(state.visible);
  state.visible = visible;
  state.lowered = null;
  numberPlaces(state);
}

// the traces

/**
 * The traces for the exchange that is read, its own first: that of a selection it belongs to, then
 * the one that speaks for it, then others of its cluster and rubric, then those of the selection.
 */
function tracesOfExchange(state, traces) {
  const i = readExchangeOf(state);
  if (i === undefined) return [];
  const { cluster, rubric } = state.columns;
  const groupOf = (k) => `${cluster?.labels[cluster.codes[k]]}\n${rubric?.labels[rubric.codes[k]]}`;
  const groups = new Set(state.chosen.map(groupOf));
  const own = groupOf(i);
  const ofClusters = traces.filter((trace) => !trace.positions);
  const rank = (trace) => {
    if (trace.positions) return trace.positions.includes(i) ? 0 : 4;
    if (trace === ofClusters[state.ownTrace[i]]) return 1;
    const group = `${trace.cluster}\n${trace.rubric}`;
    if (group === own) return 2;
    return groups.has(group) ? 3 : 5;
  };
  const chosen = new Set(state.chosen);
  const isHere = (trace) =>
    trace.positions ? trace.positions.some((k) => chosen.has(k)) : rank(trace) < 4;
  return traces.filter(isHere).sort((a, b) => rank(a) - rank(b));
}

/** Whether the first of these traces speaks for the exchange that is read. */
function isTraced(state, traces) {
  const i = readExchangeOf(state);
  const [first] = traces;
  if (!first) return false;
  if (first.positions?.includes(i)) return true;
  const { cluster, rubric } = state.columns;
  return (
    first.cluster === cluster?.labels[cluster.codes[i]] &&
    first.rubric === rubric?.labels[rubric.codes[i]]
  );
}
