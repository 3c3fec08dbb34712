// The bar above the map: colouring, filters, search and reset.

const SEARCH_PAUSE = 150; // milliseconds without typing before a search starts

/** A labelled choice; options are [value, text]. */
function labelledSelect(label, options, act) {
  const select = h(
    "select",
    { "data-filter": label, onchange: (event) => act(event.target.value) },
    options.map(([value, text]) => h("option", { value }, oneLine(text, 48))),
  );
  return h("label", {}, label, select);
}

/**
 * The bar of a view.
 *
 * recolour(): called after state.colour has changed; refilter(): after state.filters has; reset():
 * when everything should be shown again.
 */
function createFilters(state, { recolour, refilter, reset }) {
  const [lowest, highest] = state.scoreRange;

  function setFilter(name, value) {
    state.filters[name] = value;
    refilter();
  }

  const several = severalLabels(state);
  const colourable = Object.keys(state.columns).filter(
    (name) => state.columns[name].labels.length > 1 || name === state.colour,
  );
  const colour = labelledSelect(
    "colour",
    [...colourable, "score"].map((name) => [name, categoryName(name)]),
    (value) => {
      state.colour = value;
      recolour();
    },
  );
  const categories = several.map(([name, { labels }]) =>
    labelledSelect(
      categoryName(name),
      [["", "all"], ...labels.map((label, code) => [code, label])],
      (value) => setFilter(name, value === "" ? null : Number(value)),
    ),
  );
  const bound = h("output", {}, `${lowest}`);
  const minScore = h("input", {
    type: "range",
    min: lowest,
    max: highest,
    value: lowest,
    "aria-label": "minimum score",
    oninput: () => {
      bound.value = minScore.value;
      setFilter("score", Number(minScore.value));
    },
  });
  const search = h("input", {
    type: "search",
    placeholder: "text in query or response",
    "aria-label": "search text",
    oninput: debounced(() => setFilter("text", search.value.trim().toLowerCase()), SEARCH_PAUSE),
  });

  function resetAll() {
    for (const label of categories) label.querySelector("select").value = "";
    search.value = "";
    minScore.value = lowest;
    bound.value = lowest;
    state.filters = {};
    reset();
  }

  const title = "clear the filters and the selection, and show the whole map";
  return h(
    "div",
    { class: "ck-bar" },
    colour,
    categories,
    h("label", {}, "score from", minScore, bound),
    search,
    h("button", { onclick: resetAll, title }, "reset"),
  );
}
