// One linked view of failures: map, reader, trace and training rows. In a notebook a kernel stands behind its buttons; an exported page has
// none, and no buttons. All text goes into the document as text nodes: nothing here parses HTML.

const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A800"];  // Okabe and Ito, the yellow darker
const BLUES = ["#b5d4e9", "#7fb9da", "#4a98c9", "#2070b4", "#08326e"];  // of scores, low to high
const NONE = "#9a9a9a";
const LISTED = 200, LEGEND = 40;  // exchanges and categories listed at once

/** An element with properties (class, title, on...) and children; strings become text nodes. */
function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") made[name === "class" ? "className" : name] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return made;
}

/** A text as it may be shown: controls, and what would turn the reading direction of its surroundings, by their numbers. */
const shown = (text) => String(text ?? "").replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
  (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
const oneLine = (text, most) => { const line = shown(String(text ?? "").slice(0, 4 * most)).replace(/\s+/g, " ").trim(); return line.length > most ? line.slice(0, most) + "…" : line; };
const percent = (rate, digits = 0) => (rate === null || rate === undefined ? "n/a" : `${(100 * rate).toFixed(digits)} %`);
const count = (n) => n.toLocaleString("en-US");

/** Text with [start, end] places marked; places are of code points, as Python counts them. */
function marked(text, marks) {
  if (!marks || !marks.length) return [shown(text)];
  const points = Array.from(text), parts = [];
  let at = 0;
  for (const [start, end] of marks) {
    if (start < at) continue;
    parts.push(shown(points.slice(at, start).join("")), h("mark", {}, shown(points.slice(start, end).join(""))));
    at = end;
  }
  return [...parts, shown(points.slice(at).join(""))];
}

/** What gzip made of JSON: bytes (DataView or Uint8Array) to a value. */
async function unpack(bytes) {
  const view = new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength);
  return new Response(new Blob([view]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

async function render({ model, el }) {
  const can = model.get("can"), live = Object.keys(can).length > 0;
  const data = await unpack(model.get("map"));
  const { columns, caption } = data;
  let { x, y, score } = data, n = x.length;
  let texts = null, lowered = null;  // they come after the first paint
  let on = new Uint8Array(n).fill(1), chosen = [], at = 0, tab = "reader", current = 0, hover = -1;
  let colour = ["cluster", "rubric", "model"].find((name) => columns[name] && columns[name].labels.length > 1) ?? Object.keys(columns)[0];
  let pan = false, lasso = null, zoom = { k: 1, x: 0, y: 0 };
  const filters = {}, ready = unpack(model.get("texts")).then((got) => { texts = got; });

  // the frame

  const canvas = h("canvas", { tabIndex: 0, "aria-label": "map of the failing responses" }), over = h("canvas", { class: "ck-over" });
  const tip = h("div", { class: "ck-tip", hidden: true }), legend = h("div", { class: "ck-legend", role: "list" });
  const counted = h("span", { class: "ck-count", "aria-live": "polite" }), panel = h("div", { class: "ck-body" });
  const tabs = ["reader", "trace", "rows"].map((name) => h("button", { class: "ck-tab", role: "tab", "data-tab": name, onclick: () => { tab = name; fill(); } },
    { reader: "Reader", trace: "Trace", rows: "Training rows" }[name]));
  const status = h("span", { class: "ck-status", "aria-live": "polite" }), progress = h("progress", { max: 1, value: 0, hidden: true });
  const actions = Object.entries({ probe: "Probe more like this", trace: "Trace this selection", ablate: "Ablate this chunk" })
    .map(([name, label]) => h("button", { class: "ck-action", "data-action": name, onclick: () => act(name) }, label));
  const mode = h("button", { class: "ck-mode", title: "what dragging does: draw around points, or move the map", onclick: () => { pan = !pan; mode.textContent = pan ? "drag: move" : "drag: lasso"; } }, "drag: lasso");
  const named = (name) => ({ rubric: "rubric", cluster: "cluster", model: "model", language: "language", chunk: "traced chunk" }[name] ?? name);
  const pick = (label, options, act) => h("label", {}, label, h("select", { "data-filter": label, onchange: (e) => act(e.target.value) },
    options.map(([value, text]) => h("option", { value }, oneLine(text, 48)))));
  const several = Object.entries(columns).filter(([, column]) => column.labels.length > 1);
  const search = h("input", { type: "search", placeholder: "text in query or response", "aria-label": "search text", oninput: later(() => sieve("text", search.value.trim().toLowerCase()), 150) });
  const [lowest, highest] = [Math.min(...[0, ...range(score)]), Math.max(...[100, ...range(score)])];
  const bound = h("output", {}, `${lowest}`);
  const least = h("input", { type: "range", min: lowest, max: highest, value: lowest, "aria-label": "least score", oninput: () => { bound.value = least.value; sieve("score", +least.value); } });
  const bar = h("div", { class: "ck-bar" },
    pick("colour", [...Object.keys(columns).filter((c) => columns[c].labels.length > 1 || c === colour), "score"].map((c) => [c, named(c)]), (value) => { colour = value; look(); }),
    several.map(([name, column]) => pick(named(name), [["", "all"], ...column.labels.map((label, i) => [i, label])], (value) => sieve(name, value === "" ? null : +value))),
    h("label", {}, "score from", least, bound), search,
    h("button", { onclick: reset, title: "no filter, no selection, the whole map" }, "reset"));
  const root = h("div", { class: "ck" }, bar, h("div", { class: "ck-main" },
    h("div", { class: "ck-left" }, h("div", { class: "ck-map" }, canvas, over, tip, mode), legend),
    h("div", { class: "ck-right" }, h("div", { class: "ck-tabs", role: "tablist" }, tabs, counted), panel,
      live ? h("div", { class: "ck-actions" }, actions, progress, status) : null)),
  h("div", { class: "ck-caption" }, shown(caption)));
  el.append(root);

  // the map

  let sprites = [], kinds = null, box = null;

  function range(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
    return low <= high ? [low, high] : [0, 1];
  }

  function later(act, wait) {
    let timer;
    return () => { clearTimeout(timer); timer = setTimeout(act, wait); };
  }

  /** The category of every point under the colouring: codes, and for each its label and look. */
  function classes() {
    if (colour !== "score") {
      const { codes, labels } = columns[colour];
      return { codes, list: labels.map((label, i) => ({ label, colour: label === "noise" || label === "none" ? NONE : COLOURS[i % 7], shape: Math.floor(i / 7) % 4 })) };
    }
    const step = (highest - lowest) / 5;
    return { codes: score.map((s) => (s === null ? 5 : Math.min(4, Math.floor((s - lowest) / step)))),
      list: [...BLUES.map((c, i) => ({ label: `${lowest + i * step} to ${lowest + (i + 1) * step}`, colour: c, shape: 0 })), { label: "none", colour: NONE, shape: 0 }] };
  }

  const size = () => (n < 1500 ? 4.5 : n < 8000 ? 3.2 : n < 20000 ? 2.4 : 1.8) * Math.min(2, Math.sqrt(zoom.k));

  function drawShape(pen, shape, cx, cy, r) {
    pen.beginPath();
    if (shape === 0) pen.arc(cx, cy, r, 0, 7);
    else if (shape === 1) pen.rect(cx - 0.9 * r, cy - 0.9 * r, 1.8 * r, 1.8 * r);
    else if (shape === 2) { pen.moveTo(cx, cy - 1.25 * r); pen.lineTo(cx + 1.15 * r, cy + 0.85 * r); pen.lineTo(cx - 1.15 * r, cy + 0.85 * r); pen.closePath(); }
    else { pen.moveTo(cx, cy - 1.3 * r); pen.lineTo(cx + 1.3 * r, cy); pen.lineTo(cx, cy + 1.3 * r); pen.lineTo(cx - 1.3 * r, cy); pen.closePath(); }
  }

  function sprite({ colour, shape }, faint) {
    const scale = window.devicePixelRatio || 1, r = size(), side = Math.ceil(2 * (1.4 * r + 1) * scale), made = h("canvas", { width: side, height: side });
    const pen = made.getContext("2d");
    pen.scale(scale, scale);
    pen.globalAlpha = faint ? 0.25 : 0.85;
    drawShape(pen, shape, side / scale / 2, side / scale / 2, r);
    pen.fillStyle = colour;
    pen.fill();
    pen.lineWidth = 0.6;
    pen.strokeStyle = "rgba(255,255,255,.65)";
    if (!faint) pen.stroke();
    return made;
  }

  /** Where the map's plane is on the screen: the whole of it fits at zoom 1. */
  function project() {
    const [x0, x1] = range(x), [y0, y1] = range(y), w = canvas.clientWidth, t = canvas.clientHeight, edge = 18;
    const k = Math.min((w - 2 * edge) / (x1 - x0 || 1), (t - 2 * edge) / (y1 - y0 || 1)) * zoom.k;
    return { k, x: w / 2 - k * (x0 + x1) / 2 + zoom.x, y: t / 2 + k * (y0 + y1) / 2 + zoom.y };
  }

  function draw() {
    const w = canvas.clientWidth, t = canvas.clientHeight, scale = window.devicePixelRatio || 1;
    if (!w || !t) return;
    for (const c of [canvas, over]) if (c.width !== Math.round(w * scale) || c.height !== Math.round(t * scale)) { c.width = Math.round(w * scale); c.height = Math.round(t * scale); }
    box = project();
    const pen = canvas.getContext("2d"), { codes } = kinds, some = chosen.length > 0, picked = new Uint8Array(n);
    for (const i of chosen) picked[i] = 1;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const pass of some ? [0, 1] : [1]) {
      for (let i = 0; i < n; i++) {
        if (!on[i] || (some && picked[i] !== pass)) continue;
        const image = sprites[codes[i]][pass], px = (box.x + box.k * x[i]) * scale, py = (box.y - box.k * y[i]) * scale;
        if (px > -20 && py > -20 && px < canvas.width + 20 && py < canvas.height + 20) pen.drawImage(image, Math.round(px - image.width / 2), Math.round(py - image.height / 2));
      }
    }
    mark();
  }

  /** What moves over the points: the lasso, rings around the exchange that is read and the one under the pointer. */
  function mark() {
    const scale = window.devicePixelRatio || 1, pen = over.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, over.width, over.height);
    pen.strokeStyle = getComputedStyle(root).color;
    pen.lineWidth = 1.5;
    for (const i of new Set([chosen[at], hover])) {
      if (i === undefined || i < 0) continue;
      pen.beginPath();
      pen.arc(box.x + box.k * x[i], box.y - box.k * y[i], size() + 4, 0, 7);
      pen.stroke();
    }
    if (lasso && lasso.length > 1) {
      pen.beginPath();
      lasso.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
      pen.setLineDash([5, 4]);
      pen.closePath();
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  /** All that follows from the colouring: sprites, legend, map. */
  function look() {
    kinds = classes();
    sprites = kinds.list.map((kind) => [sprite(kind, true), sprite(kind, false)]);
    const sizes = new Array(kinds.list.length).fill(0);
    for (let i = 0; i < n; i++) if (on[i]) sizes[kinds.codes[i]]++;
    const order = kinds.list.map((_, i) => i).filter((i) => sizes[i]);
    if (colour !== "score") order.sort((a, b) => (kinds.list[a].colour === NONE) - (kinds.list[b].colour === NONE) || sizes[b] - sizes[a]);
    legend.replaceChildren(...order.slice(0, LEGEND).map((i) => {
      const swatch = h("canvas", { width: 28, height: 28, class: "ck-swatch" }), pen = swatch.getContext("2d");
      drawShape(pen, kinds.list[i].shape, 14, 14, 8);
      pen.fillStyle = kinds.list[i].colour;
      pen.fill();
      return h("button", { class: "ck-key", role: "listitem", title: `select: ${shown(kinds.list[i].label)}`, onclick: (e) => choose(which((p) => kinds.codes[p] === i), e.shiftKey) },
        swatch, h("span", {}, oneLine(kinds.list[i].label, 110)), h("b", {}, count(sizes[i])));
    }), ...(order.length > LEGEND ? [h("span", { class: "ck-more" }, `and ${order.length - LEGEND} smaller ones`)] : []));
    draw();
  }

  const which = (holds) => { const found = []; for (let i = 0; i < n; i++) if (on[i] && holds(i)) found.push(i); return found; };

  function nearest(px, py, reach = 10) {
    let best = -1, least = reach * reach;
    for (let i = 0; i < n; i++) {
      if (!on[i]) continue;
      const dx = box.x + box.k * x[i] - px, dy = box.y - box.k * y[i] - py, d = dx * dx + dy * dy;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  function inside(polygon, px, py) {
    let is = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [ax, ay] = polygon[i], [bx, by] = polygon[j];
      if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) is = !is;
    }
    return is;
  }

  const place = (e) => { const edge = canvas.getBoundingClientRect(); return [e.clientX - edge.left, e.clientY - edge.top]; };
  let from = null;
  canvas.addEventListener("pointerdown", (e) => {
    if (e.button) return;
    canvas.setPointerCapture(e.pointerId);
    from = { at: place(e), zoom: { ...zoom } };
    lasso = pan || e.altKey ? null : [from.at];
  });
  canvas.addEventListener("pointermove", (e) => {
    const [px, py] = place(e);
    if (!from) {
      hover = nearest(px, py);
      tip.hidden = hover < 0 || !texts;
      if (!tip.hidden) {
        tip.replaceChildren(h("b", {}, oneLine(columns[colour]?.labels[columns[colour].codes[hover]] ?? "", 60)), h("div", {}, oneLine(texts.query[hover], 110)), h("div", {}, "→ ", oneLine(texts.response[hover], 110)));
        tip.style.left = `${Math.min(px + 14, canvas.clientWidth - 270)}px`;
        tip.style.top = `${py + 16 + 90 > canvas.clientHeight ? py - 100 : py + 16}px`;
      }
      return mark();
    }
    tip.hidden = true;
    if (lasso) { lasso.push([px, py]); mark(); } else { zoom.x = from.zoom.x + px - from.at[0]; zoom.y = from.zoom.y + py - from.at[1]; draw(); }
  });
  canvas.addEventListener("pointerup", (e) => {
    if (!from) return;
    const [px, py] = place(e), still = Math.hypot(px - from.at[0], py - from.at[1]) < 4 && (!lasso || lasso.length < 6), drawn = lasso;
    from = lasso = null;
    if (still) {
      const hit = nearest(px, py), { codes } = columns.cluster ?? kinds;
      if (hit < 0) choose([]);
      else choose(which((i) => codes[i] === codes[hit]), e.shiftKey, hit);
    } else if (drawn) choose(which((i) => inside(drawn, box.x + box.k * x[i], box.y - box.k * y[i])), e.shiftKey);
    else draw();
  });
  canvas.addEventListener("pointerleave", () => { hover = -1; tip.hidden = true; mark(); });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    const [px, py] = place(e), by = Math.exp(-e.deltaY / 400), w = canvas.clientWidth / 2, t = canvas.clientHeight / 2, k = Math.min(60, Math.max(0.5, zoom.k * by)), f = k / zoom.k;
    zoom = { k, x: px - w - f * (px - w - zoom.x), y: py - t - f * (py - t - zoom.y) };
    sprites = kinds.list.map((kind) => [sprite(kind, true), sprite(kind, false)]);
    draw();
  }, { passive: false });

  // selection and filters

  let picked = [];  // what was chosen, filtered or not

  function choose(found, more = false, first = -1) {
    picked = more ? [...new Set([...picked, ...found])].sort((a, b) => a - b) : found;
    follow(first);
  }

  function follow(first = -1) {
    chosen = picked.filter((i) => on[i]);
    at = Math.max(0, chosen.indexOf(first));
    current = 0;
    draw();
    fill();
    model.set("chosen", new DataView(Int32Array.from(chosen).buffer));
    model.save_changes();
  }

  async function sieve(name, value) {
    filters[name] = value;
    if (filters.text) { await ready; lowered ??= texts.query.map((q, i) => `${q}\n${texts.response[i]}`.toLowerCase()); }
    const held = Object.entries(filters).filter(([key, v]) => v !== null && v !== "" && columns[key]).map(([key, v]) => [columns[key].codes, v]);
    for (let i = 0; i < n; i++) {
      on[i] = (!filters.score || filters.score <= lowest || (score[i] !== null && score[i] >= filters.score)) && held.every(([codes, v]) => codes[i] === v) && (!filters.text || lowered[i].includes(filters.text)) ? 1 : 0;
    }
    look();
    follow();
  }

  function reset() {
    for (const key of Object.keys(filters)) delete filters[key];
    bar.querySelectorAll("select").forEach((s, i) => { if (i) s.value = ""; });
    search.value = "";
    least.value = bound.value = lowest;
    zoom = { k: 1, x: 0, y: 0 };
    on.fill(1);
    picked = [];
    look();
    follow();
  }

  // the panel

  /** The traces that speak for the selection: first those made of a selection that it shares exchanges with, then those of its clusters, by how many. */
  function traces() {
    const all = model.get("traces"), here = new Map();
    for (const i of chosen) { const key = `${columns.cluster?.codes[i]}|${columns.rubric?.codes[i]}`; here.set(key, (here.get(key) ?? 0) + 1); }
    const mine = new Set(chosen);
    const weight = (t) => (t.made ? 1e6 * t.made.filter((i) => mine.has(i)).length : here.get(`${columns.cluster?.labels.indexOf(t.cluster)}|${columns.rubric?.labels.indexOf(t.rubric)}`) ?? 0);
    return all.filter((t) => weight(t) > 0).sort((a, b) => weight(b) - weight(a));
  }

  async function fill() {
    tabs.forEach((b) => b.setAttribute("aria-selected", b.dataset.tab === tab));
    let shownNow = 0;
    for (let i = 0; i < n; i++) shownNow += on[i];
    counted.textContent = `${count(chosen.length)} selected · ${count(shownNow)} of ${count(n)} shown`;
    buttons();
    if (!texts) { panel.replaceChildren(h("p", { class: "ck-hint" }, "reading the texts …")); await ready; }
    if (!chosen.length) {
      panel.replaceChildren(h("p", { class: "ck-hint" }, "Click a point to select its cluster, draw around points, or click a line of the legend. With Shift the selection grows. The wheel zooms."));
    } else panel.replaceChildren(...{ reader, trace, rows }[tab]().flat(Infinity));
  }

  function turn(step) { at = (at + step + chosen.length) % chosen.length; mark(); fill(); panel.querySelector(".ck-here")?.scrollIntoView({ block: "nearest" }); }

  function reader() {
    const i = chosen[at], start = Math.max(0, Math.min(at - LISTED / 2, chosen.length - LISTED));
    const list = chosen.slice(start, start + LISTED).map((p, k) => h("button", { class: start + k === at ? "ck-item ck-here" : "ck-item", onclick: () => { at = start + k; turn(0); } },
      h("b", {}, score[p] === null ? "–" : `${Math.round(score[p])}`), h("span", {}, oneLine(texts.query[p], 90))));
    const said = (label, body, cls = "") => (body && body.length ? h("section", { class: cls }, h("h4", {}, label), h("div", { class: "ck-text", dir: "auto" }, body)) : null);
    const lines = (values) => (values && values.length ? [h("ul", {}, values.map((v) => h("li", {}, shown(v))))] : null);
    const facts = several.concat(Object.entries(columns).filter(([, c]) => c.labels.length === 1)).map(([name, c]) => `${named(name)}: ${oneLine(c.labels[c.codes[i]], 80)}`);
    const translated = (side) => { const t = texts[`${side}_translation`]?.[i]; return t && t.trim() !== texts[side][i].trim() ? [shown(t)] : null; };
    return [h("div", { class: "ck-list" }, list),
      h("div", { class: "ck-nav" }, h("button", { title: "the one before", onclick: () => turn(-1) }, "‹"), h("span", {}, `${count(at + 1)} of ${count(chosen.length)}`), h("button", { title: "the next", onclick: () => turn(1) }, "›"),
        h("span", { class: "ck-facts" }, `score ${score[i] ?? "n/a"} · ${facts.join(" · ")}`)),
      said("Query", [shown(texts.query[i])], "ck-query"), said("Query, translated", translated("query")),
      said(texts.marks?.[i]?.length ? "Response, its crux marked" : "Response", marked(texts.response[i], texts.marks?.[i]), "ck-response"), said("Response, translated", translated("response")),
      said("Why the judge gave this score", texts.reason?.[i] ? [shown(texts.reason[i])] : null), said("Crux", lines(texts.crux?.[i])),
      said("Attributes of the query", lines(texts.query_attributes?.[i])), said("Attributes of the response", lines(texts.response_attributes?.[i]))].filter(Boolean);
  }

  const pair = (label, value, text, cls) => h("div", { class: `ck-pair ${cls}` }, h("span", {}, label), h("span", { class: "ck-track" }, h("i", { style: `width:${Math.max(0.4, 100 * Math.min(1, value || 0))}%` })), h("b", {}, text));

  function chooser(list) {
    const told = (t) => `${t.made ? `your selection (${t.made.length} exchanges)` : `cluster: ${oneLine(t.cluster, 40)}`} · ${t.rubric}: ${oneLine(t.trigger ?? "no trigger", 70)}`;
    return list.length > 1 ? h("label", { class: "ck-chooser" }, `trace ${current + 1} of ${list.length} `, h("select", { onchange: (e) => { current = +e.target.value; fill(); } },
      list.map((t, i) => h("option", { value: i, selected: i === current }, told(t))))) : h("p", { class: "ck-chooser" }, told(list[0]));
  }

  const untraced = () => [h("p", { class: "ck-hint" }, live && !can.trace ? "No trace speaks for this selection yet: press “Trace this selection”." : "No trace speaks for this selection.")];

  function trace() {
    const list = traces(), t = list[current];
    if (!t) return untraced();
    const made = [chooser(list), h("p", { class: "ck-explained" }, shown(t.explanation))];
    if (t.trigger) {
      made.push(h("h4", {}, "Hits beside the base rate"), pair("rows with the crux that have the trigger", t.hits / t.k, `${count(t.hits)} of ${count(t.k)} (${percent(t.hits / t.k)})`, "main"),
        pair("all rows that have it (base rate)", t.hits / t.k / t.lift, percent(t.hits / t.k / t.lift, 1), "base"),
        h("p", { class: "ck-fine" }, `lift ${t.lift.toFixed(1)}, adjusted p ${t.p_value.toExponential(0)} · the crux stands in ${percent(t.p_crux_given_trigger)} of the rows with the trigger and ${percent(t.p_crux_without, 1)} of those without`),
        h("p", { class: "ck-fine" }, `crux: ${shown(t.crux)}`, t.trigger_by_hits && t.trigger_by_hits !== t.trigger ? ` · by raw hits the trigger would be: ${shown(t.trigger_by_hits)}` : ""));
      if (t.chunks.length) made.push(h("h4", {}, "Chunks behind it, beside their share of the mixture"), t.chunks.slice(0, 5).map((c) => h("div", { class: "ck-chunk" }, h("b", {}, shown(c.chunk)),
        pair("of the rows behind the trace", c.share, percent(c.share), "main"), pair("of the mixture", c.base_share, percent(c.base_share, 1), "base"))));
    }
    if (t.ablation) {
      const a = t.ablation, bounds = (low, high) => `[${percent(low)}, ${percent(high)}], n = ${a.n}`;
      made.push(h("h4", {}, `Retrained without ${shown(a.chunk)}`), pair("failure rate before", a.rate_before, `${percent(a.rate_before)} ${bounds(a.before_low, a.before_high)}`, "before"), pair("and after", a.rate_after, `${percent(a.rate_after)} ${bounds(a.low, a.high)}`, "after"));
    }
    return [...made, h("p", { class: "ck-fine" }, t.ablation ? "95 % Wilson intervals." : "Hits are co-occurrence in the training rows, not cause; an ablation tests cause.")];
  }

  function rows() {
    const list = traces(), t = list[current];
    if (!t) return untraced();
    const of = (kind, title) => {
      const found = t.examples.filter((e) => e.kind === kind);
      return [h("h4", {}, title), found.length ? h("table", {}, h("thead", {}, h("tr", {}, ["chunk", "prompt", "response"].map((c) => h("th", {}, c)))),
        h("tbody", {}, found.map((e) => h("tr", {}, h("td", {}, shown(e.chunk)), h("td", { dir: "auto" }, h("div", { class: "ck-cell" }, marked(e.prompt, e.prompt_marks))), h("td", { dir: "auto" }, h("div", { class: "ck-cell" }, marked(e.response, e.response_marks))))))) : h("p", { class: "ck-fine" }, "none")];
    };
    return [chooser(list), ...of("evidence", "Evidence: rows with the trigger and the crux"), ...of("counter-example", "Counter-examples: rows with the trigger and without the crux")];
  }

  // what the kernel does

  function buttons() {
    if (!live) return;
    const busy = model.get("status").busy, chunk = traces()[current]?.chunks?.[0]?.chunk;
    for (const b of actions) {
      const name = b.dataset.action, want = name === "ablate" ? (tab !== "reader" || traces().length) && chunk : chosen.length;
      b.disabled = Boolean(busy || can[name] || !want);
      b.title = can[name] || (busy ? "at work" : want ? "" : "select something first");
      if (name === "ablate") b.textContent = chunk ? `Ablate ${oneLine(chunk, 24)}` : "Ablate this chunk";
    }
  }

  function act(name) {
    const t = traces()[current];
    model.send({ act: name, positions: chosen, trace: t ? model.get("traces").indexOf(t) : null });
  }

  function grow() {
    const more = model.get("more");
    for (const p of more.slice(n - data.n)) {
      x.push(p.x); y.push(p.y); score.push(p.score);
      for (const [name, column] of Object.entries(columns)) {
        const label = p.labels[name] ?? "none";
        if (!column.labels.includes(label)) column.labels.push(label);
        column.codes.push(column.labels.indexOf(label));
      }
      for (const key of Object.keys(texts)) texts[key].push(p[key] ?? null);
      lowered = null;
      n += 1;
    }
    on = Uint8Array.from({ length: n }, (_, i) => (i < on.length ? on[i] : 1));
    look();
    follow();  // what was asked for may be among them
  }

  const heard = {
    "change:traces": () => { current = 0; fill(); },
    "change:more": async () => { await ready; grow(); },
    "change:status": () => {
      const { text, done, total, busy } = model.get("status");
      status.textContent = shown(text ?? "");
      progress.hidden = !busy;
      if (total) { progress.max = total; progress.value = done; } else progress.removeAttribute("value");
      buttons();
    },
    "change:asked": () => { picked = model.get("asked"); tab = "reader"; follow(); },
    "msg:custom": (message) => { if (message.show) { tab = message.show; fill(); } },
  };
  for (const [event, act] of Object.entries(heard)) model.on(event, act);
  const watch = new ResizeObserver(() => draw());
  watch.observe(canvas);
  look();
  root.dataset.painted = performance.now();
  await ready;
  data.n = n;
  if (model.get("more").length) grow();
  picked = model.get("asked");
  follow();
  if (live) heard["change:status"]();
  root.dataset.ready = performance.now();
  return () => { watch.disconnect(); for (const [event, act] of Object.entries(heard)) model.off(event, act); };
}

export default { render };
