// The map: points on a canvas, with a lasso and zoom.

const EDGE = 18; // pixels between the outermost points and the border
const REACH = 10; // pixels from the pointer to a point that it hits
const MIN_ZOOM = 0.5;
const MAX_ZOOM = 60;
const WHOLE_MAP = { k: 1, x: 0, y: 0 };
const TIP_WIDTH = 270; // pixels
const TIP_HEIGHT = 90; // pixels

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

/**
 * The map of a view.
 *
 * select(positions, extend, first): called with what was clicked or drawn around; `extend` adds to
 * the selection, `first` is the exchange to read first.
 */
function createMap(state, select) {
  const canvas = h("canvas", { tabIndex: 0, "aria-label": "map of the failing responses" });
  const over = h("canvas", { class: "ck-over" });
  const tip = h("div", { class: "ck-tip", hidden: true });
  const legend = h("div", { class: "ck-legend", role: "list" });
  const mode = h(
    "button",
    {
      class: "ck-mode",
      title: "what dragging does: draw around points, or move the map",
      onclick: switchMode,
    },
    "drag: lasso",
  );
  let categories = null;
  let images = []; // for each category a faint and a full point
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
  const screenX = (i) => plane.x + plane.k * state.x[i];
  const screenY = (i) => plane.y - plane.k * state.y[i];

  function redrawImages() {
    images = categories.list.map((category) => [
      pointImage(category, radius(), true),
      pointImage(category, radius(), false),
    ]);
  }

  /** Redo all that follows from the colouring and the filters: points, legend, map. */
  function recolour() {
    categories = colourCategories(state);
    redrawImages();
    legend.replaceChildren(...legendLines(state, categories, select));
    draw();
  }

  /** Place the plane on the screen: all of it fits at zoom 1. */
  function project() {
    const [x0, x1] = range(state.x);
    const [y0, y1] = range(state.y);
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    const fitX = (width - 2 * EDGE) / (x1 - x0 || 1);
    const fitY = (height - 2 * EDGE) / (y1 - y0 || 1);
    const k = Math.min(fitX, fitY) * zoom.k;
    const x = width / 2 - (k * (x0 + x1)) / 2 + zoom.x;
    const y = height / 2 + (k * (y0 + y1)) / 2 + zoom.y;
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
    const isChosen = new Uint8Array(state.x.length);
    for (const i of state.chosen) isChosen[i] = 1;
    // With a selection, the rest is drawn first and faint.
    const passes = state.chosen.length ? [0, 1] : [1];
    for (const pass of passes) {
      for (let i = 0; i < state.x.length; i++) {
        if (!state.visible[i] || (passes.length > 1 && isChosen[i] !== pass)) continue;
        const px = screenX(i) * scale;
        const py = screenY(i) * scale;
        if (px < -20 || py < -20 || px > canvas.width + 20 || py > canvas.height + 20) continue;
        const image = images[categories.codes[i]][pass];
        pen.drawImage(image, Math.round(px - image.width / 2), Math.round(py - image.height / 2));
      }
    }
    mark();
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
    const read = state.chosen[state.current];
    for (const i of new Set([read, hover])) {
      if (i === undefined || i < 0) continue;
      pen.beginPath();
      pen.arc(screenX(i), screenY(i), radius() + 4, 0, 7);
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

  /** The visible exchange next to a place on the screen, -1 if none is in reach. */
  function nearest(px, py) {
    let best = -1;
    let bestDistance = REACH * REACH;
    for (let i = 0; i < state.x.length; i++) {
      if (!state.visible[i]) continue;
      const dx = screenX(i) - px;
      const dy = screenY(i) - py;
      const distance = dx * dx + dy * dy;
      if (distance < bestDistance) {
        bestDistance = distance;
        best = i;
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
      const label = column?.labels[column.codes[hover]] ?? "";
      tip.replaceChildren(
        h("b", {}, oneLine(label, 60)),
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
      const positions = visibleWhere(state, (i) => isInside(polygon, screenX(i), screenY(i)));
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
    const [px, py] = pointerPlace(event);
    const centreX = canvas.clientWidth / 2;
    const centreY = canvas.clientHeight / 2;
    const wanted = zoom.k * Math.exp(-event.deltaY / 400);
    const k = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, wanted));
    const factor = k / zoom.k;
    const x = px - centreX - factor * (px - centreX - zoom.x);
    const y = py - centreY - factor * (py - centreY - zoom.y);
    zoom = { k, x, y };
    redrawImages();
    draw();
  }

  canvas.addEventListener("pointerdown", startDrag);
  canvas.addEventListener("pointermove", movePointer);
  canvas.addEventListener("pointerup", endDrag);
  canvas.addEventListener("pointerleave", () => {
    hover = -1;
    tip.hidden = true;
    mark();
  });
  canvas.addEventListener("wheel", zoomAtPointer, { passive: false });
  const watch = new ResizeObserver(() => draw());
  watch.observe(canvas);

  return {
    element: h("div", { class: "ck-map" }, canvas, over, tip, mode),
    legend,
    draw,
    mark,
    recolour,
    showAll: () => {
      zoom = { ...WHOLE_MAP };
    },
    close: () => watch.disconnect(),
  };
}
