// One linked view of failures: map, reader, trace and training rows. In a notebook a kernel stands
// behind its buttons. An exported page has no kernel and no buttons.

const TABS = { reader: "Reader", trace: "Trace", rows: "Training rows" };
const ACTIONS = {
  probe: "Probe more like this",
  trace: "Trace this selection",
  ablate: "Ablate this chunk",
};
const HINT =
  "Click a point to select its cluster, drag to draw around points, or click a line of the " +
  "legend. Hold Shift to add to the selection. The wheel zooms.";

function hint(text) {
  return h("p", { class: "ck-hint" }, text);
}

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
  const panel = h("div", { class: "ck-body" });
  const status = h("span", { class: "ck-status", "aria-live": "polite" });
  const progress = h("progress", { max: 1, value: 0, hidden: true });
  const tabs = Object.entries(TABS).map(([name, label]) =>
    h(
      "button",
      { class: "ck-tab", role: "tab", "data-tab": name, onclick: () => openTab(name) },
      label,
    ),
  );
  const buttons = Object.entries(ACTIONS).map(([name, label]) =>
    h("button", { class: "ck-action", "data-action": name, onclick: () => act(name) }, label),
  );
  const bar = createFilters(state, { recolour: map.recolour, refilter, reset });
  // a page cannot write into a run folder
  const download = downloadButton(
    () => model.get("labels"),
    () => state.texts?.id ?? [],
    "",
  );
  const root = h(
    "div",
    { class: "ck", tabIndex: 0, "data-lm-suppress-shortcuts": "true" },
    bar,
    h(
      "div",
      { class: "ck-main" },
      h("div", { class: "ck-left" }, map.element, map.legend),
      h(
        "div",
        { class: "ck-right" },
        h("div", { class: "ck-tabs", role: "tablist" }, tabs, counter),
        panel,
        isLive ? h("div", { class: "ck-actions" }, buttons, progress, status) : null,
      ),
    ),
    h("div", { class: "ck-caption" }, spelledOut(packed.caption), isLive ? null : download),
  );
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
    map.draw();
    fillPanel();
    model.set("chosen", new DataView(Int32Array.from(state.chosen).buffer));
    model.save_changes();
  }

  async function refilter() {
    if (state.filters.text) await ready;
    applyFilters(state);
    map.recolour();
    showSelection();
  }

  function reset() {
    map.showAll();
    state.visible.fill(1);
    state.picked = [];
    map.recolour();
    showSelection();
  }

  // the panel

  const ownTraces = () => tracesOfSelection(state, model.get("traces"));

  function openTab(name) {
    state.tab = name;
    fillPanel();
  }

  function readExchange(position) {
    state.current = position;
    map.mark();
    fillPanel();
    panel.querySelector(".ck-here")?.scrollIntoView({ block: "nearest" });
  }

  function chooseTrace(position) {
    state.trace = position;
    fillPanel();
  }

  /** Keep what a person says of the exchange that is read, and go on to the next one. */
  function saveLabel(label, goOn = true) {
    const id = state.texts.id[state.chosen[state.current]];
    model.set("labels", { ...model.get("labels"), [id]: label });
    model.save_changes();
    const isLast = state.current + 1 >= state.chosen.length;
    readExchange(state.current + (goOn && !isLast ? 1 : 0));
    root.focus({ preventScroll: true }); // the button that had it is gone
  }

  function onKey(event) {
    if (isTyping(event) || state.tab !== "reader" || !state.chosen.length) return;
    const id = state.texts?.id?.[state.chosen[state.current]];
    const target = TARGET_KEYS[event.key.toLowerCase()];
    const n = state.chosen.length;
    if (target && id) saveLabel({ ...model.get("labels")[id], target });
    else if (event.key === "ArrowRight") readExchange((state.current + 1) % n);
    else if (event.key === "ArrowLeft") readExchange((state.current - 1 + n) % n);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async function fillPanel() {
    for (const tab of tabs) tab.setAttribute("aria-selected", tab.dataset.tab === state.tab);
    const shown = state.visible.reduce((sum, isVisible) => sum + isVisible, 0);
    const numbers = `${thousands(shown)} of ${thousands(state.x.length)} shown`;
    counter.textContent = `${thousands(state.chosen.length)} selected · ${numbers}`;
    updateButtons();
    if (!state.texts) {
      panel.replaceChildren(hint("loading the texts …"));
      await ready;
    }
    const content = state.chosen.length ? tabContent() : [hint(HINT)];
    panel.replaceChildren(...content.flat(Infinity));
  }

  function tabContent() {
    if (state.tab === "reader") {
      return readerContent(state, readExchange, model.get("labels") ?? {}, saveLabel);
    }
    const traces = ownTraces();
    if (!traces.length) {
      const advice = isLive && !unavailable.trace ? " Press “Trace this selection”." : "";
      return [hint(`This selection has no trace.${advice}`)];
    }
    const content = state.tab === "trace" ? traceContent : rowsContent;
    return content(traces, state.trace, chooseTrace);
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
    status.textContent = spelledOut(text ?? "");
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
    "change:traces": () => chooseTrace(0),
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
  map.recolour();
  root.dataset.painted = performance.now();
  await ready;
  if (model.get("more").length) addNewExchanges();
  showRequested();
  if (isLive) showStatus();
  root.dataset.ready = performance.now();
  return () => {
    map.close();
    keyboard.removeEventListener("keydown", onKey);
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
  };
}
