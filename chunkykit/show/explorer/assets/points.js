// How exchanges look: their colours and shapes, and the legend.

// The palette of Okabe and Ito, its yellow darkened to show on white
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A800"];
const SCORE_COLOURS = ["#b5d4e9", "#7fb9da", "#4a98c9", "#2070b4", "#08326e"]; // low to high
const NONE_COLOUR = "#9a9a9a";
const N_SHAPES = 4;
const MAX_LEGEND = 40; // categories listed
const GROWTH_PER_DOUBLING = 0.4;

/** The categories under the current colouring: a code per exchange, and each category's look. */
function colourCategories(state) {
  if (state.colour === "score") return scoreCategories(state);
  const { codes, labels } = state.columns[state.colour];
  const list = labels.map((label, i) => ({
    label: labelName(state.colour, label),
    colour: label === "noise" || label === NO_LABEL ? NONE_COLOUR : COLOURS[i % COLOURS.length],
    shape: Math.floor(i / COLOURS.length) % N_SHAPES,
  }));
  return { codes, list };
}

function scoreCategories({ score, scoreRange }) {
  const [lowest, highest] = scoreRange;
  const steps = SCORE_COLOURS.length;
  const width = (highest - lowest) / steps;
  const codes = score.map((value) =>
    value === null ? steps : Math.min(steps - 1, Math.floor((value - lowest) / width)),
  );
  const list = SCORE_COLOURS.map((colour, i) => ({
    label: `${lowest + i * width} to ${lowest + (i + 1) * width}`,
    colour,
    shape: 0,
  }));
  return { codes, list: [...list, { label: "none", colour: NONE_COLOUR, shape: 0 }] };
}

/** Radius of a point in pixels: smaller the more points, larger when zoomed in. */
function pointRadius(n, zoom) {
  let radius = 1.8;
  if (n < 1500) radius = 4.5;
  else if (n < 8000) radius = 3.2;
  else if (n < 20000) radius = 2.4;
  return radius * Math.min(2, Math.sqrt(zoom));
}

/** How many times larger a point is drawn that stands for several exchanges at one place. */
function growth(count) {
  return 1 + GROWTH_PER_DOUBLING * Math.log2(count);
}

/**
 * What is drawn: exchanges at one place with one look are one point. Those that are not selected
 * come first, and large points before small ones, so that nothing is hidden.
 */
function stackExchanges(state, categories) {
  const isChosen = new Uint8Array(state.x.length);
  for (const i of state.chosen) isChosen[i] = 1;
  const nLooks = 2 * categories.list.length;
  const single = [[], []]; // faint, full
  const stacks = new Map();
  for (let i = 0; i < state.x.length; i++) {
    if (!state.visible[i]) continue;
    const full = state.chosen.length ? isChosen[i] : 1;
    const look = 2 * categories.codes[i] + full;
    const place = state.place[i];
    const stack = { i, look, count: 1 };
    if (state.placeSizes[place] === 1) {
      single[full].push(stack);
      continue;
    }
    const first = stacks.get(place * nLooks + look);
    if (first) first.count++;
    else stacks.set(place * nLooks + look, stack);
  }
  const large = [...stacks.values()].sort((a, b) => b.count - a.count);
  const ofLook = (full) => large.filter(({ look }) => look % 2 === full);
  return [...ofLook(0), ...single[0], ...ofLook(1), ...single[1]];
}

/** Make the path of a shape: a disc, a square, a triangle or a diamond. */
function shapePath(pen, shape, cx, cy, r) {
  pen.beginPath();
  if (shape === 0) {
    pen.arc(cx, cy, r, 0, 7);
  } else if (shape === 1) {
    pen.rect(cx - 0.9 * r, cy - 0.9 * r, 1.8 * r, 1.8 * r);
  } else if (shape === 2) {
    pen.moveTo(cx, cy - 1.25 * r);
    pen.lineTo(cx + 1.15 * r, cy + 0.85 * r);
    pen.lineTo(cx - 1.15 * r, cy + 0.85 * r);
    pen.closePath();
  } else {
    pen.moveTo(cx, cy - 1.3 * r);
    pen.lineTo(cx + 1.3 * r, cy);
    pen.lineTo(cx, cy + 1.3 * r);
    pen.lineTo(cx - 1.3 * r, cy);
    pen.closePath();
  }
}

/** A point as an image: drawing an image many times is faster than drawing a path. */
function pointImage({ colour, shape }, radius, faint) {
  const scale = window.devicePixelRatio || 1;
  const side = Math.ceil(2 * (1.4 * radius + 1) * scale);
  const image = h("canvas", { width: side, height: side });
  const pen = image.getContext("2d");
  pen.scale(scale, scale);
  pen.globalAlpha = faint ? 0.25 : 0.85;
  shapePath(pen, shape, side / scale / 2, side / scale / 2, radius);
  pen.fillStyle = colour;
  pen.fill();
  pen.lineWidth = 0.6;
  pen.strokeStyle = "rgba(255,255,255,.65)";
  if (!faint) pen.stroke();
  return image;
}

function legendSwatch({ colour, shape }) {
  const swatch = h("canvas", { width: 28, height: 28, class: "ck-swatch" });
  const pen = swatch.getContext("2d");
  shapePath(pen, shape, 14, 14, 8);
  pen.fillStyle = colour;
  pen.fill();
  return swatch;
}

/** The lines of the legend, the largest category first; a click selects its exchanges. */
function legendLines(state, categories, select) {
  const { codes, list } = categories;
  const sizes = new Array(list.length).fill(0);
  for (let i = 0; i < codes.length; i++) if (state.visible[i]) sizes[codes[i]]++;
  const order = list.map((_, code) => code).filter((code) => sizes[code]);
  const isNone = (code) => list[code].colour === NONE_COLOUR;
  if (state.colour !== "score") {
    order.sort((a, b) => isNone(a) - isNone(b) || sizes[b] - sizes[a]);
  }
  const lines = order.slice(0, MAX_LEGEND).map((code) => {
    const { label } = list[code];
    const properties = {
      class: "ck-key",
      title: `select: ${spelledOut(label)}`,
      onclick: (event) =>
        select(
          visibleWhere(state, (i) => codes[i] === code),
          event.shiftKey,
        ),
    };
    const name = h("span", {}, oneLine(label, 110));
    return h(
      "button",
      properties,
      legendSwatch(list[code]),
      name,
      h("b", {}, thousands(sizes[code])),
    );
  });
  const hidden = order.length - lines.length;
  if (hidden > 0) lines.push(h("span", { class: "ck-more" }, `and ${hidden} smaller categories`));
  return lines;
}
