// One exchange after another, without what the judge says of it, to be labelled by keys.

/** Draw the labelling view into `el`. The model is anywidget's, or one with its methods. */
async function render({ model, el }) {
  const items = await unpack(model.get("items"));
  const isPage = Boolean(model.get("isPage"));
  const firstOpen = items.findIndex((item) => !model.get("labels")[item.id]);
  let current = Math.max(0, firstOpen);
  const progress = h("progress", { max: Math.max(1, items.length), value: 0 });
  const counter = h("span", { class: "ck-count", "aria-live": "polite" });
  const body = h("div", { class: "ck-body" });
  const ids = () => items.map((item) => item.id);
  const download = isPage
    ? downloadButton(() => model.get("labels"), ids, "random")
    : h("span", { class: "ck-fine", "aria-live": "polite" }, spelledOut(model.get("status")));
  const root = h(
    "div",
    { class: "ck ck-labelling", tabIndex: 0, "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "ck-bar" }, progress, counter, download),
    body,
  );
  el.append(root);

  function save(label, goOn = true) {
    const labels = { ...model.get("labels"), [items[current].id]: label };
    model.set("labels", labels);
    model.save_changes();
    if (goOn && current + 1 < items.length) current += 1;
    draw();
  }

  function move(by) {
    current = Math.min(items.length - 1, Math.max(0, current + by));
    draw();
  }

  function draw() {
    const labels = model.get("labels");
    const done = items.filter((item) => labels[item.id]).length;
    progress.value = done;
    counter.textContent = `${done} of ${items.length} labelled`;
    const item = items[current];
    body.replaceChildren(...(item ? itemContent(item, labels[item.id]) : ["Nothing to label."]));
    root.focus({ preventScroll: true });
  }

  function itemContent(item, label) {
    const text = (name, value) => [
      h("h4", {}, name),
      h("div", { class: "ck-text", dir: "auto" }, spelledOut(value)),
    ];
    return [
      h(
        "div",
        { class: "ck-nav" },
        h("button", { title: "previous (left arrow)", onclick: () => move(-1) }, "‹"),
        h("span", {}, `${current + 1} of ${items.length}`),
        h("button", { title: "next (right arrow)", onclick: () => move(1) }, "›"),
      ),
      labelBar(label, save),
      h("p", { class: "ck-asked" }, "Does the response violate this? ", h("b", {}, item.asks)),
      h("p", { class: "ck-fine" }, `Not a violation: ${spelledOut(item.allows)}`),
      ...text("Query", item.query),
      ...text("Response", item.response),
      ...(item.more ?? []).flatMap(([name, value]) => text(name, value)),
    ];
  }

  function onKey(event) {
    if (isTyping(event) || !items.length) return;
    const target = TARGET_KEYS[event.key.toLowerCase()];
    if (target) save({ ...model.get("labels")[items[current].id], target });
    else if (event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowLeft") move(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const listener = isPage ? document : root;
  listener.addEventListener("keydown", onKey);
  const showStatus = () => {
    download.textContent = spelledOut(model.get("status"));
  };
  model.on("change:labels", draw);
  model.on("change:status", showStatus);
  draw();
  root.dataset.ready = performance.now();
  return () => {
    listener.removeEventListener("keydown", onKey);
    model.off("change:labels", draw);
    model.off("change:status", showStatus);
  };
}
