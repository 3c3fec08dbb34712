// The bar above the map: colouring, search, filters and reset.

const SEARCH_PAUSE = 150; // milliseconds without typing before a search starts

/** A labelled choice; options are [value, text]. */
function labelledSelect(name, label, options, act) {
  const select = h(
    "select",
    { "data-filter": name, onchange: (event) => act(event.target.value) },
    options.map(([value, text]) => h("option", { value }, oneLine(text, 48))),
  );
  return h("label", {}, label, select);
}

/** The choice of what the points are coloured by. */
function colourChoice(state, recolour) {
  const names = Object.keys(state.columns).filter(
    (name) => state.columns[name].labels.length > 1 || name === state.colour,
  );
  if (state.hasScores) names.push("score");
  const options = names.map((name) => [name, categoryName(name)]);
  const choice = labelledSelect("colour", "colour", options, (value) => {
    state.colour = value;
    recolour();
  });
  choice.querySelector("select").value = state.colour;
  return choice;
}

/** A slider of the lowest score that is shown. */
function scoreFilter(state, setFilter) {
  const [lowest, highest] = state.scoreRange;
  const bound = h("output", {}, `${lowest}`);
  const slider = h("input", {
    type: "range",
    min: lowest,
    max: highest,
    value: lowest,
    "aria-label": "minimum score",
    oninput: () => {
      bound.value = slider.value;
      setFilter("score", Number(slider.value));
    },
  });
  return h("label", {}, "score from", slider, bound);
}

/**
 * The bar of a view.
 *
 * recolour(): called after state.colour has changed; refilter(): after state.filters has; reset():
 * when everything should be shown again.
 */
function createFilters(state, { recolour, refilter, reset }) {
  const toggle = h(
    "button",
    { class: "ck-toggle", "aria-expanded": "false", onclick: () => open(!isOpen()) },
    "Filters",
  );

  function setFilter(name, value) {
    state.filters[name] = value;
    showCount();
    refilter();
  }

  /** Say on the button how many filters are set, since it may hide them. */
  function showCount() {
    const n = filtersInWords(state).length;
    toggle.textContent = n ? `Filters (${n})` : "Filters";
  }

  const categories = severalLabels(state).map(([name, { labels }]) =>
    labelledSelect(
      name,
      categoryName(name),
      [["", "all"], ...labels.map((label, code) => [code, labelName(name, label)])],
      (value) => setFilter(name, value === "" ? null : Number(value)),
    ),
  );
  const search = h("input", {
    type: "search",
    placeholder: "text in query or response",
    "aria-label": "search text",
    oninput: debounced(() => setFilter("text", search.value.trim().toLowerCase()), SEARCH_PAUSE),
  });
  const score = state.hasScores ? scoreFilter(state, setFilter) : null;
  const filters = h("div", { class: "ck-filters" }, categories, score);
  const isOpen = () => filters.classList.contains("ck-open");

  function open(isShown) {
    filters.classList.toggle("ck-open", isShown);
    toggle.setAttribute("aria-expanded", String(isShown));
  }

  /** Take all filters away, in the state and in the bar. */
  function clear() {
    for (const select of filters.querySelectorAll("select")) select.value = "";
    search.value = "";
    const slider = score?.querySelector("input");
    if (slider) {
      slider.value = slider.min;
      score.querySelector("output").value = slider.min;
    }
    state.filters = {};
    showCount();
  }

  function resetAll() {
    clear();
    reset();
  }

  const title = "clear the filters and the selection, and show the whole map";
  const element = h(
    "div",
    { class: "ck-bar", role: "search" },
    colourChoice(state, recolour),
    search,
    toggle,
    h("button", { class: "ck-reset", onclick: resetAll, title }, "Reset"),
    filters,
  );
  return { element, clear };
}
