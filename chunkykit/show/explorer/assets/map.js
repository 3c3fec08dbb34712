// The map: points on a canvas, with the names of their clusters, a lasso and zoom.

const EDGE = 22; // pixels between the outermost points and the border
const TOP = 14; // more of them at the top, where the buttons are
const REACH = 10; // pixels from the pointer to a point that it hits
const MIN_ZOOM = 0.5;
const MAX_ZOOM = 60;
const WHOLE_MAP = { k: 1, x: 0, y: 0 };
const TIP_WIDTH = 270; // pixels
const TIP_HEIGHT = 120; // pixels

/** Whether a place lies inside a polygon. */
function isInside(polygon, px, py) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    const crosses = ay > py !== by > py;
    if (crosses && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/** What the map shows, for a screen reader. */
function mapDescription({ x, columns }) {
  const n = columns.cluster?.labels.length ?? 0;
  return (
    `map of ${thousands(x.length)} failing exchanges in ${n} clusters; the legend below selects ` +
    "them too"
  );
}

/**
 * The map of a view.
 *
 * select(positions, extend, first): called with what was clicked or drawn around; `extend` adds to
 * the selection, `first` is the exchange to read first.
 */
function createMap(state, select) {
  const canvas = h("canvas", { role: "img", "aria-label": mapDescription(state) });
  const over = h("canvas", { class: "ck-over" });
  const tip = h("div", { class: "ck-tip", hidden: true });
  const legend = h("div", { class: "ck-legend", role: "group", "aria-label": "legend" });
  const notice = h("div", { class: "ck-empty", hidden: true });
  const names = createNames(state);
  const mode = h(
    "button",
    {
      class: "ck-mode",
      title: "what dragging does: draw around points, or move the map",
      onclick: switchMode,
    },
    "drag: lasso",
  );
  const tools = h(
    "div",
    { class: "ck-tools" },
    h("button", { "aria-label": "zoom in", title: "zoom in", onclick: () => zoomBy(1.5) }, "+"),
    h("button", { "aria-label": "zoom out", title: "zoom out", onclick: () => zoomBy(1 / 1.5) }, "−"),
    mode,
  );
  let categories = null;
  let stacks = []; // points to draw, each of one or several exchanges
  let counts = []; // for each place how many exchanges are shown there
  const images = new Map(); // by look and size
  let plane = null; // where the plane of the points is on the screen
  let zoom = { ...WHOLE_MAP };
  let dragMoves = false;
  let drag = null; // where a drag began
  let lasso = null; // the places that the drag has passed
  let hover = -1;

  function switchMode() {
    dragMoves = !dragMoves;
    mode.textContent = dragMoves ? "drag: move" : "drag: lasso";
  }

  const radius = () => pointRadius(state.x.length, zoom.k);
  const screenX = (x) => plane.x + plane.k * x;
  const screenY = (y) => plane.y - plane.k * y;
  const placeOf = (i) => [screenX(state.x[i]), screenY(state.y[i])];
  const radiusAt = (i) => radius() * growth(counts[state.place[i]] || 1);

  /** The image of a point; one is made for each look and, in quarters, each size. */
  function imageOf({ look, count }) {
    const quarters = count === 1 ? 4 : Math.round(4 * growth(count));
    const key = 1000 * look + quarters;
    if (!images.has(key)) {
      const category = categories.list[look >> 1];
      images.set(key, pointImage(category, (quarters / 4) * radius(), look % 2 === 0));
    }
    return images.get(key);
  }

  /** Redo all that follows from the colouring and the filters: points, names, legend, map. */
  function recolour() {
    categories = colourCategories(state);
    images.clear();
    legend.replaceChildren(...legendLines(state, categories, select));
    names.update();
    update();
  }

  /** Redo all that follows from the selection. */
  function update() {
    if (!categories) return;
    stacks = stackExchanges(state, categories);
    counts = new Uint32Array(state.placeSizes.length);
    for (const { i, count } of stacks) counts[state.place[i]] += count;
    draw();
  }

  /** Place the plane on the screen: all of it fits at zoom 1. */
  function project() {
    const [x0, x1] = range(state.x);
    const [y0, y1] = range(state.y);
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    const fitX = (width - 2 * EDGE) / (x1 - x0 || 1);
    const fitY = (height - 2 * EDGE - TOP) / (y1 - y0 || 1);
    const k = Math.min(fitX, fitY) * zoom.k;
    const x = width / 2 - (k * (x0 + x1)) / 2 + zoom.x;
    const y = (height + TOP) / 2 + (k * (y0 + y1)) / 2 + zoom.y;
    plane = { k, x, y };
  }

  function fitCanvases(scale) {
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    for (const layer of [canvas, over]) {
      if (layer.width === width && layer.height === height) continue;
      layer.width = width;
      layer.height = height;
    }
  }

  function draw() {
    if (!canvas.clientWidth || !canvas.clientHeight) return;
    const scale = window.devicePixelRatio || 1;
    fitCanvases(scale);
    project();
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    const crowd = createCrowd(width, height);
    const reach = 0.7 * radius();
    for (const stack of stacks) {
      const px = screenX(state.x[stack.i]);
      const py = screenY(state.y[stack.i]);
      if (px < -40 || py < -40 || px > width + 40 || py > height + 40) continue;
      crowd.add(px, py, reach * growth(stack.count));
      const image = imageOf(stack);
      const left = Math.round(px * scale - image.width / 2);
      pen.drawImage(image, left, Math.round(py * scale - image.height / 2));
    }
    placeNames(crowd, pen, scale);
    mark();
  }

  function placeNames(crowd, pen, scale) {
    const frame = { width: canvas.clientWidth, height: canvas.clientHeight };
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = tools;
    const right = offsetLeft + offsetWidth;
    const taken = { left: offsetLeft, top: offsetTop, right, bottom: offsetTop + offsetHeight };
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.strokeStyle = NONE_COLOUR;
    pen.lineWidth = 1;
    for (const [x0, y0, x1, y1] of names.place(screenX, screenY, frame, [taken], crowd)) {
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
    }
    pen.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** Draw what moves over the points: the lasso, and rings around two exchanges. */
  function mark() {
    if (!plane) return;
    const scale = window.devicePixelRatio || 1;
    const pen = over.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, over.width, over.height);
    pen.strokeStyle = getComputedStyle(over).color;
    pen.lineWidth = 1.5;
    for (const i of new Set([readExchangeOf(state), hover])) {
      if (i === undefined || i < 0) continue;
      pen.beginPath();
      pen.arc(...placeOf(i), radiusAt(i) + 3, 0, 7);
      pen.stroke();
    }
    if (lasso && lasso.length > 1) {
      pen.beginPath();
      for (const [px, py] of lasso) pen.lineTo(px, py);
      pen.setLineDash([5, 4]);
      pen.closePath();
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  /** The visible exchange at a place on the screen or next to it, -1 if none is in reach. */
  function nearest(px, py) {
    let best = -1;
    let bestGap = REACH;
    // From the top: of points over one another the smallest was drawn last.
    for (let k = stacks.length - 1; k >= 0; k--) {
      const { i } = stacks[k];
      const distance = Math.hypot(screenX(state.x[i]) - px, screenY(state.y[i]) - py);
      const gap = Math.max(0, distance - radiusAt(i));
      if (gap < bestGap) {
        best = i;
        bestGap = gap;
      }
    }
    return best;
  }

  function pointerPlace(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function showTip(px, py) {
    hover = nearest(px, py);
    tip.hidden = hover < 0 || !state.texts;
    if (!tip.hidden) {
      const column = state.columns[state.colour];
      const label = labelName(state.colour, column?.labels[column.codes[hover]] ?? "");
      const count = counts[state.place[hover]];
      const here = count > 1 ? ` · ${thousands(count)} exchanges here` : "";
      const { cluster } = state.columns;
      const name = cluster && state.colour !== "cluster" ? cluster.labels[cluster.codes[hover]] : "";
      tip.replaceChildren(
        h("b", {}, oneLine(label, 60), here),
        h("div", { class: "ck-fine" }, oneLine(name, 70)),
        h("div", {}, oneLine(state.texts.query[hover], 110)),
        h("div", {}, "→ ", oneLine(state.texts.response[hover], 110)),
      );
      const below = py + 16;
      const fits = below + TIP_HEIGHT <= canvas.clientHeight;
      tip.style.left = `${Math.min(px + 14, canvas.clientWidth - TIP_WIDTH)}px`;
      tip.style.top = `${fits ? below : py - 10 - TIP_HEIGHT}px`;
    }
    mark();
  }

  function startDrag(event) {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    const place = pointerPlace(event);
    drag = { place, zoom: { ...zoom } };
    lasso = dragMoves || event.altKey ? null : [place];
  }

  function movePointer(event) {
    const [px, py] = pointerPlace(event);
    if (!drag) {
      showTip(px, py);
      return;
    }
    tip.hidden = true;
    if (lasso) {
      lasso.push([px, py]);
      mark();
    } else {
      zoom.x = drag.zoom.x + px - drag.place[0];
      zoom.y = drag.zoom.y + py - drag.place[1];
      draw();
    }
  }

  function endDrag(event) {
    if (!drag) return;
    const [px, py] = pointerPlace(event);
    const polygon = lasso;
    const moved = Math.hypot(px - drag.place[0], py - drag.place[1]);
    const isClick = moved < 4 && (!polygon || polygon.length < 6);
    drag = null;
    lasso = null;
    if (isClick) {
      selectNear(px, py, event.shiftKey);
    } else if (polygon) {
      const positions = visibleWhere(state, (i) => isInside(polygon, ...placeOf(i)));
      select(positions, event.shiftKey);
    } else {
      draw();
    }
  }

  /** Select the cluster of the exchange next to a place; nothing where there is none. */
  function selectNear(px, py, extend) {
    const hit = nearest(px, py);
    const { codes } = state.columns.cluster ?? categories;
    if (hit < 0) select([]);
    else
      select(
        visibleWhere(state, (i) => codes[i] === codes[hit]),
        extend,
        hit,
      );
  }

  /** Zoom so that the place under the pointer stays where it is. */
  function zoomAtPointer(event) {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), ...pointerPlace(event));
  }

  /** Zoom by a factor around a place of the screen, by default the middle. */
  function zoomBy(wanted, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
    const fromCentreX = px - canvas.clientWidth / 2;
    const fromCentreY = py - canvas.clientHeight / 2;
    const k = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom.k * wanted));
    const factor = k / zoom.k;
    const x = fromCentreX - factor * (fromCentreX - zoom.x);
    const y = fromCentreY - factor * (fromCentreY - zoom.y);
    zoom = { k, x, y };
    images.clear();
    draw();
  }

  function stopDrag() {
    drag = null;
    lasso = null;
    mark();
  }

  /** Show a message in place of the points; none hides it. */
  function showNotice(content) {
    notice.hidden = !content.length;
    notice.replaceChildren(...content);
  }

  canvas.addEventListener("pointerdown", startDrag);
  canvas.addEventListener("pointermove", movePointer);
  canvas.addEventListener("pointerup", endDrag);
  canvas.addEventListener("pointercancel", stopDrag); // a finger that scrolls the page
  canvas.addEventListener("pointerleave", () => {
    hover = -1;
    tip.hidden = true;
    mark();
  });
  canvas.addEventListener("wheel", zoomAtPointer, { passive: false });
  const watch = new ResizeObserver(() => draw());
  watch.observe(canvas);

  return {
    element: h("div", { class: "ck-map" }, canvas, names.element, over, notice, tools, tip),
    legend,
    update,
    mark,
    recolour,
    showNotice,
    showAll: () => {
      zoom = { ...WHOLE_MAP };
    },
    close: () => watch.disconnect(),
  };
}
