// The names of the clusters on the map: beside their points, and never over one another.

const NAME_LENGTH = 46; // characters of a name
const SHARE = /, \d+%$/; // of a cluster for which its name is true; the legend has it
const CELL = 8; // pixels of a square in which points are counted
const DISTANCES = [16, 28, 42, 60, 84]; // pixels from the middle of a cluster to its name
// From the middle of a cluster to that of its name, in units of the distance and half the name
const DIRECTIONS = [
  [0, -1],
  [0, 1],
  [1, 0],
  [-1, 0],
  [1, -0.6],
  [-1, -0.6],
  [1, 0.6],
  [-1, 0.6],
  [0.7, -1],
  [-0.7, -1],
  [0.7, 1],
  [-0.7, 1],
];
const NEAR = 26; // pixels from a name to the middle of its cluster, over which a line joins them
const POINT_COST = 6; // of a square with points under a name, in pixels of distance
const MAX_COST = 90; // over which a name would hide or confuse more than it tells
const GAP = 3; // pixels between two names

function boxesMeet(a, b) {
  return (
    a.left < b.right + GAP && b.left < a.right + GAP && a.top < b.bottom + GAP && b.top < a.bottom + GAP
  );
}

/** The squares of the map that have points in them. */
function createCrowd(width, height) {
  const columns = Math.ceil(width / CELL) + 1;
  const rows = Math.ceil(height / CELL) + 1;
  const isTaken = new Uint8Array(columns * rows);

  /** Call `act` with the number of each square that a box touches. */
  function forSquares({ left, top, right, bottom }, act) {
    const lastRow = Math.min(rows - 1, Math.floor(bottom / CELL));
    const lastColumn = Math.min(columns - 1, Math.floor(right / CELL));
    for (let row = Math.max(0, Math.floor(top / CELL)); row <= lastRow; row++) {
      for (let column = Math.max(0, Math.floor(left / CELL)); column <= lastColumn; column++) {
        act(row * columns + column);
      }
    }
  }

  return {
    add(px, py, r) {
      // Most points lie within squares that are taken already.
      const middle = Math.floor(py / CELL) * columns + Math.floor(px / CELL);
      if (r < CELL / 2 && isTaken[middle]) return;
      const box = { left: px - r, top: py - r, right: px + r, bottom: py + r };
      forSquares(box, (square) => {
        isTaken[square] = 1;
      });
    },
    under(box) {
      let sum = 0;
      forSquares(box, (square) => {
        sum += isTaken[square];
      });
      return sum;
    },
  };
}

/** The line from a name to the middle of its cluster; null where it is beside it. */
function joiningLine(box, x, y) {
  const nearX = Math.min(Math.max(x, box.left), box.right);
  const nearY = Math.min(Math.max(y, box.top), box.bottom);
  return Math.hypot(nearX - x, nearY - y) > NEAR ? [nearX, nearY, x, y] : null;
}

/** Whether a line passes through a box, as ten places on it say. */
function crosses([x0, y0, x1, y1], { left, top, right, bottom }) {
  for (let step = 0; step <= 1; step += 0.1) {
    const x = x0 + step * (x1 - x0);
    const y = y0 + step * (y1 - y0);
    if (x > left && x < right && y > top && y < bottom) return true;
  }
  return false;
}

/** The width of the words of a name, which is less than that of its box where they wrap. */
function wordsWidth(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  return Math.ceil(range.getBoundingClientRect().width) + 1;
}

/** Where a name of this size fits best beside (x, y); null where it fits nowhere. */
function fittingBox(x, y, width, height, frame, taken, crowd) {
  let best = null;
  let bestCost = MAX_COST;
  for (const distance of DISTANCES) {
    for (const [dx, dy] of DIRECTIONS) {
      const middleX = x + dx * (distance + width / 2);
      const middleY = y + dy * (distance + height / 2);
      const left = Math.min(Math.max(middleX - width / 2, 4), frame.width - width - 4);
      const top = middleY - height / 2;
      const box = { left, top, right: left + width, bottom: top + height };
      if (top < 2 || box.bottom > frame.height - 2 || left < 2) continue;
      if (taken.some((other) => boxesMeet(box, other))) continue;
      const line = joiningLine(box, x, y);
      if (line && taken.some((other) => crosses(line, other))) continue;
      const cost = distance + Math.abs(left + width / 2 - middleX) + POINT_COST * crowd.under(box);
      if (cost < bestCost) {
        best = box;
        bestCost = cost;
      }
    }
  }
  return best;
}

function medianOf(values) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.floor(sorted.length / 2)];
}

/** The visible clusters with the middle of their exchanges, the largest first. */
function clusterMiddles(state) {
  const { labels, codes } = state.columns.cluster ?? { labels: [], codes: [] };
  const members = labels.map(() => []);
  codes.forEach((code, i) => state.visible[i] && members[code].push(i));
  return labels
    .map((label, code) => ({ label, members: members[code] }))
    .filter(({ label, members: own }) => own.length && label !== "noise")
    .sort((a, b) => b.members.length - a.members.length)
    .map(({ label, members: own }) => ({
      label,
      members: own,
      x: medianOf(own.map((i) => state.x[i])),
      y: medianOf(own.map((i) => state.y[i])),
    }));
}

/** A layer of names over the map. */
function createNames(state) {
  // The legend says the same to a screen reader.
  const element = h("div", { class: "ck-names", "aria-hidden": "true" });
  let names = [];

  /** Make the names anew, after a change of the filters or the exchanges. */
  function update() {
    names = clusterMiddles(state).map((cluster) => {
      const [number, ...words] = cluster.label.split(": ");
      const text = oneLine(words.join(": ").replace(SHARE, ""), NAME_LENGTH);
      const node = h("div", { class: "ck-name" }, h("b", {}, oneLine(number, 12)), " ", text);
      return { ...cluster, node };
    });
    element.replaceChildren(...names.map(({ node }) => node));
    for (const name of names) {
      name.width = wordsWidth(name.node);
      name.node.style.width = `${name.width}px`;
      name.height = name.node.offsetHeight;
    }
  }

  /**
   * Place the names, those of the selection first. `taken` are boxes that stay free. Returns the
   * lines that join names to clusters which they are not beside.
   */
  function place(screenX, screenY, frame, taken, crowd) {
    const chosen = new Set(state.chosen);
    const isChosen = ({ members }) => members.some((i) => chosen.has(i));
    const boxes = [...taken];
    const lines = [];
    const order = [...names].sort((a, b) => isChosen(b) - isChosen(a));
    for (const name of order) {
      const x = screenX(name.x);
      const y = screenY(name.y);
      const isInFrame = x >= 0 && y >= 0 && x <= frame.width && y <= frame.height;
      const box = isInFrame && fittingBox(x, y, name.width, name.height, frame, boxes, crowd);
      name.node.hidden = !box;
      name.node.classList.toggle("ck-dim", chosen.size > 0 && !isChosen(name));
      if (!box) continue;
      boxes.push(box);
      name.node.style.left = `${box.left}px`;
      name.node.style.top = `${box.top}px`;
      lines.push(joiningLine(box, x, y));
    }
    return lines.filter(isPresent);
  }

  return { element, update, place };
}
