// One linked view of failures: map, reader, trace and training rows. In a notebook a kernel stands
// behind its buttons. An exported page has no kernel and no buttons.

const TABS = { reader: "Reader", trace: "Trace", rows: "Training rows" };
const ACTIONS = {
  probe: "Probe more like this",
  trace: "Trace this selection",
  ablate: "Ablate this chunk",
};

/** Draw the view into `el`. The model is anywidget's, or one with its methods in a page. */
async function render({ model, el }) {
  const unavailable = model.get("unavailable"); // for each button why it cannot be used
  const isLive = Object.keys(unavailable).length > 0;
  const packed = await unpack(model.get("map"));
  const state = createState(packed);
  const ready = unpack(model.get("texts")).then((texts) => {
    state.texts = texts;
  });

  // the frame

  const map = createMap(state, select);
  const counter = h("span", { class: "ck-count", "aria-live": "polite" });
  const panel = h("div", { class: "ck-body", tabIndex: 0, role: "region", "aria-label": "Reader" });
  const status = h("span", { class: "ck-status", "aria-live": "polite" });
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "progress" });
  const steps = createSteps(stepBy);
  const tabs = Object.entries(TABS).map(([name, label]) =>
    h("button", { class: "ck-tab", "data-tab": name, onclick: () => openTab(name) }, label),
  );
  const buttons = Object.entries(ACTIONS).map(([name, label]) =>
    h("button", { class: "ck-action", "data-action": name, onclick: () => act(name) }, label),
  );
  const filters = createFilters(state, { recolour: map.recolour, refilter, reset });
  // a page cannot write into a run folder
  const download = downloadButton(
    () => model.get("labels"),
    () => state.texts?.id ?? [],
    "",
  );
  const root = h(
    "div",
    { class: "ck", tabIndex: 0, "data-lm-suppress-shortcuts": "true" },
    filters.element,
    h(
      "div",
      { class: "ck-main" },
      h("div", { class: "ck-left" }, map.element, map.legend),
      h(
        "div",
        { class: "ck-right" },
        h("div", { class: "ck-tabs", role: "group", "aria-label": "views" }, tabs, steps.keys),
        h("div", { class: "ck-nav" }, steps.element, counter),
        panel,
        isLive ? h("div", { class: "ck-actions" }, buttons, progress, status) : null,
      ),
    ),
    h(
      "div",
      { class: "ck-caption" },
      h("span", { class: "ck-source" }, spelledOut(packed.caption)),
      createSharing(state, linkToCopy),
      isLive ? null : download,
    ),
  );
  filters.element.append(fullScreenButton(root));
  el.append(root);

  // the selection

  /** Select exchanges, or add them to the selection; `first` is the one to read first. */
  function select(positions, extend = false, first = -1) {
    if (extend) {
      state.picked = [...new Set([...state.picked, ...positions])].sort((a, b) => a - b);
    } else {
      state.picked = positions;
    }
    showSelection(first);
  }

  /** Show what of the selection is visible, and tell the kernel. */
  function showSelection(first = -1) {
    state.chosen = state.picked.filter((i) => state.visible[i]);
    state.current = Math.max(0, state.chosen.indexOf(first));
    state.trace = 0;
    map.update();
    fillPanel();
    panel.scrollTop = 0;
    model.set("chosen", new DataView(Int32Array.from(state.chosen).buffer));
    model.save_changes();
  }

  async function refilter() {
    if (state.filters.text) await ready;
    applyFilters(state);
    map.recolour();
    map.showNotice(countVisible(state) ? [] : nothingShown());
    showSelection();
  }

  function clearFilters() {
    filters.clear();
    refilter();
  }

  function reset() {
    map.showAll();
    state.visible.fill(1);
    state.picked = [];
    map.showNotice([]);
    map.recolour();
    showSelection();
  }

  // links

  function linkToCopy() {
    const link = linkOf(state);
    return link && !isLive ? `${location.href.split("#")[0]}#${link}` : link;
  }

  /** Keep the link of the selection in the address of a page. */
  function keepLink() {
    if (isLive || !root.dataset.ready) return;
    const link = linkOf(state);
    history.replaceState(null, "", link ? `#${link}` : location.href.split("#")[0]);
  }

  /** Open what the address of a page names. Returns whether it names something. */
  function openLink() {
    const named = isLive ? null : readLink(state, location.hash);
    if (!named) return false;
    state.tab = named.tab;
    if (filtersInWords(state).length) clearFilters(); // they might hide what is named
    select(named.positions, false, named.first);
    return true;
  }

  // the panel

  const ownTraces = () => tracesOfExchange(state, model.get("traces"));
  const canTrace = isLive && !unavailable.trace;

  /** Whether a tab has something to show for some selection. */
  function hasContent(tab) {
    const traces = model.get("traces");
    if (tab === "reader" || canTrace) return true;
    return tab === "trace" ? traces.length > 0 : traces.some((trace) => trace.examples.length);
  }

  function openTab(name) {
    state.tab = name;
    fillPanel();
    panel.scrollTop = 0;
  }

  function readExchange(position) {
    const hadFocus = panel.contains(document.activeElement);
    state.current = position;
    state.trace = 0;
    map.mark();
    fillPanel();
    const line = panel.querySelector(".ck-here");
    line?.scrollIntoView({ block: "nearest" });
    if (hadFocus) (line ?? panel).focus({ preventScroll: true });
  }

  function stepBy(by) {
    const n = state.chosen.length;
    if (n) readExchange((state.current + by + n) % n);
  }

  function chooseTrace(position) {
    state.trace = position;
    fillPanel();
    panel.querySelector(".ck-chooser select")?.focus({ preventScroll: true });
  }

  /** Keep what a person says of the exchange that is read, and go on to the next one. */
  function saveLabel(label, goOn = true) {
    const id = state.texts.id[readExchangeOf(state)];
    model.set("labels", { ...model.get("labels"), [id]: label });
    model.save_changes();
    const isLast = state.current + 1 >= state.chosen.length;
    readExchange(state.current + (goOn && !isLast ? 1 : 0));
    root.focus({ preventScroll: true }); // the button that had it is gone
  }

  function onKey(event) {
    if (isTyping(event) || !state.chosen.length) return;
    const id = state.texts?.id?.[readExchangeOf(state)];
    const target = state.tab === "reader" ? TARGET_KEYS[event.key.toLowerCase()] : null;
    if (target && id) saveLabel({ ...model.get("labels")[id], target });
    else if (event.key === "ArrowRight") stepBy(1);
    else if (event.key === "ArrowLeft") stepBy(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async function fillPanel() {
    if (!hasContent(state.tab)) state.tab = "reader";
    for (const tab of tabs) {
      tab.hidden = !hasContent(tab.dataset.tab);
      tab.setAttribute("aria-pressed", String(tab.dataset.tab === state.tab));
    }
    panel.setAttribute("aria-label", TABS[state.tab]);
    const shown = `${thousands(countVisible(state))} of ${thousands(state.x.length)} shown`;
    const n = state.chosen.length;
    counter.textContent = `${thousands(n)} selected · ${shown}`;
    steps.show(state.current, n);
    updateButtons();
    if (!state.texts) {
      panel.replaceChildren(hint("loading the texts …"));
      await ready;
    }
    const content = state.chosen.length ? tabContent() : emptyContent();
    panel.replaceChildren(...content.flat(Infinity));
    keepLink();
  }

  function tabContent() {
    if (state.tab === "reader") {
      return readerContent(state, readExchange, model.get("labels") ?? {}, saveLabel);
    }
    const traces = ownTraces();
    const missing = isTraced(state, traces) ? [] : noTrace();
    if (!traces.length) return missing;
    const content = state.tab === "trace" ? traceContent : rowsContent;
    return [missing, content(traces, state.trace, chooseTrace)];
  }

  // what is shown where there is nothing, each with a way on

  /** No exchange passes the filters. */
  function nothingShown() {
    const words = filtersInWords(state).join(", ");
    return [
      hint(`No exchange passes the filters: ${words}.`),
      plainButton("Clear the filters", clearFilters),
    ];
  }

  function emptyContent() {
    const shown = countVisible(state);
    if (!shown) return nothingShown();
    if (!state.picked.length) return [hint(HINT)];
    const all = () => select(visibleWhere(state, () => true));
    const words = filtersInWords(state).join(", ");
    return [
      hint(`The filters hide the selection, ${state.picked.length} exchange(s): ${words}.`),
      plainButton(`Select the ${thousands(shown)} shown`, all),
      " ",
      plainButton("Clear the filters", clearFilters),
    ];
  }

  function noTrace() {
    if (canTrace) {
      return [
        hint("This exchange has no trace yet."),
        plainButton(ACTIONS.trace, () => act("trace")),
      ];
    }
    const { labels = [], codes = [] } = state.columns.cluster ?? {};
    const traced = new Set(model.get("traces").map((trace) => trace.cluster));
    const clusters = labels.map((label, code) => [label, code]).filter(([label]) => traced.has(label));
    const selectCluster = (code) => () => select(visibleWhere(state, (i) => codes[i] === code));
    return [
      hint("This exchange has no trace. These clusters have one:"),
      clusters.map(([label, code]) =>
        h("div", {}, plainButton(oneLine(label, 60), selectCluster(code))),
      ),
    ];
  }

  // the kernel

  function updateButtons() {
    if (!isLive) return;
    const { busy } = model.get("status");
    const chunk = ownTraces()[state.trace]?.chunks?.[0]?.chunk;
    for (const button of buttons) {
      const name = button.dataset.action;
      const hasInput = name === "ablate" ? Boolean(chunk) : state.chosen.length > 0;
      let title = "";
      if (unavailable[name]) title = unavailable[name];
      else if (busy) title = "working";
      else if (!hasInput) title = "select something first";
      button.title = title;
      button.disabled = title !== "";
      if (name === "ablate") {
        button.textContent = chunk ? `Ablate ${oneLine(chunk, 24)}` : ACTIONS.ablate;
      }
    }
  }

  function act(name) {
    const trace = ownTraces()[state.trace];
    const position = trace ? model.get("traces").indexOf(trace) : null;
    model.send({ act: name, positions: state.chosen, trace: position });
  }

  function addNewExchanges() {
    const n = state.x.length - state.nPacked;
    addExchanges(state, model.get("more").slice(n));
    map.recolour();
    showSelection(); // the selection may be of exchanges that were not there before
  }

  function showRequested() {
    state.picked = model.get("requested");
    showSelection();
  }

  function showStatus() {
    const { text, done, total, busy } = model.get("status");
    // At rest the line says why some buttons cannot be used.
    const reasons = [...new Set(Object.values(unavailable).filter(Boolean))].join("; ");
    status.textContent = spelledOut(text || reasons);
    progress.hidden = !busy;
    if (total) {
      progress.max = total;
      progress.value = done;
    } else {
      progress.removeAttribute("value");
    }
    updateButtons();
  }

  const listeners = {
    "change:traces": () => {
      state.trace = 0;
      fillPanel();
    },
    "change:labels": () => fillPanel(),
    "change:more": async () => {
      await ready;
      addNewExchanges();
    },
    "change:status": showStatus,
    "change:requested": () => {
      state.tab = "reader";
      showRequested();
    },
    "msg:custom": (message) => {
      if (message.show) openTab(message.show);
    },
  };
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  const keyboard = isLive ? root : document;
  keyboard.addEventListener("keydown", onKey);
  const followAddress = () => openLink();
  window.addEventListener("hashchange", followAddress);
  map.recolour();
  root.dataset.painted = performance.now();
  await ready;
  if (model.get("more").length) addNewExchanges();
  state.tab = model.get("tab") || "reader";
  if (!openLink()) showRequested();
  if (isLive) showStatus();
  root.dataset.ready = performance.now();
  return () => {
    map.close();
    keyboard.removeEventListener("keydown", onKey);
    window.removeEventListener("hashchange", followAddress);
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
  };
}
