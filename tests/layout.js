// What is wrong with the layout and the colours of a page; `browser.py` runs these in a browser.

const SLACK = 1.5; // pixels that a rounding may cost

const isControl = (element) => element.matches("button, select, input, textarea, progress");
const ownWords = (element) =>
  [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
const isShown = (element) =>
  element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
const mayEnd = ({ textOverflow, webkitLineClamp }) =>
  textOverflow === "ellipsis" || webkitLineClamp !== "none";

function elementName(element) {
  const classes = [...element.classList].map((name) => `.${name}`).join("");
  const words = element.textContent.trim().slice(0, 40);
  return `${element.tagName.toLowerCase()}${classes} "${words}"`;
}

function commonBox(a, b) {
  return {
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  };
}

function isEmpty(box) {
  return box.right - box.left <= SLACK || box.bottom - box.top <= SLACK;
}

/** The boxes of an element's own words, or of a control. */
function wordBoxes(element) {
  if (isControl(element)) return [element.getBoundingClientRect()];
  return ownWords(element).flatMap((node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()];
  });
}

/** What of a box is seen, and whether a box around it that does not scroll cuts it at the side. */
function seenBox(element, box, scrolls) {
  let visible = box;
  let isCut = false;
  for (let outer = element; outer && outer !== document.body; outer = outer.parentElement) {
    const style = getComputedStyle(outer);
    if (style.overflowX !== "visible" || style.overflowY !== "visible") {
      const frame = outer.getBoundingClientRect();
      const isOut = visible.left < frame.left - SLACK || visible.right > frame.right + SLACK;
      if (isOut && outer !== element && !mayEnd(style) && !outer.matches(scrolls)) isCut = true;
      visible = commonBox(visible, frame);
    }
    if (style.position === "fixed") break;
  }
  return { visible, isCut };
}

/** Whether more is in an element than its width shows. */
function isTooNarrow(element, scrolls) {
  const style = getComputedStyle(element);
  const isFree = style.display === "inline" || element.matches("canvas, select, input, textarea");
  if (isFree || mayEnd(style) || element.matches(scrolls) || !element.clientWidth) return false;
  return element.scrollWidth > element.clientWidth + SLACK;
}

/** A line per fault of the layout, as the page is on the screen now. */
function layoutFaults({ root, over, scrolls }) {
  const width = document.documentElement.clientWidth;
  const faults = new Set();
  if (document.documentElement.scrollWidth > width + SLACK) faults.add("the page scrolls sideways");
  const atoms = []; // controls, and elements with words of their own
  for (const element of document.querySelectorAll(`${root} *`)) {
    if (!isShown(element) || element.closest("svg, noscript")) continue;
    if (isTooNarrow(element, scrolls)) faults.add(`too narrow: ${elementName(element)}`);
    const isAtom = isControl(element) || ownWords(element).length > 0;
    if (!isAtom || element.parentElement.closest("button, select")) continue;
    for (const box of wordBoxes(element)) {
      const { visible, isCut } = seenBox(element, box, scrolls);
      if (isEmpty(visible)) continue;
      if (isCut) faults.add(`cut: ${elementName(element)}`);
      const isOut = visible.left < -SLACK || visible.right > width + SLACK;
      if (isOut && !element.closest(scrolls)) faults.add(`off the page: ${elementName(element)}`);
      atoms.push({ element, box: visible });
    }
  }
  for (const [i, a] of atoms.entries()) {
    for (const b of atoms.slice(0, i)) {
      const isMeant = a.element.contains(b.element) || b.element.contains(a.element);
      const isOver = over && (a.element.closest(over) || b.element.closest(over));
      if (isMeant || isOver || isEmpty(commonBox(a.box, b.box))) continue;
      faults.add(`${elementName(a.element)} lies over ${elementName(b.element)}`);
    }
  }
  return [...faults];
}

// colours

const colourParts = (colour) => colour.match(/[\d.]+/g).map(Number);

/** A colour [r, g, b, alpha] over another one. */
function blended([r, g, b, alpha = 1], back) {
  return [r, g, b].map((part, i) => alpha * part + (1 - alpha) * back[i]);
}

function luminance(colour) {
  const [r, g, b] = colour.map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The colour behind the words of an element. */
function backgroundOf(element) {
  if (!element) return [255, 255, 255];
  const own = colourParts(getComputedStyle(element).backgroundColor);
  const outer = backgroundOf(element.parentElement);
  return own[3] === 0 ? outer : blended(own, outer);
}

/** A line per element whose words stand out less than `least` to 1 from what is behind them. */
function lowContrasts({ root, least }) {
  const low = [];
  for (const element of document.querySelectorAll(`${root} *`)) {
    if (!ownWords(element).length || element.disabled || !isShown(element)) continue;
    if (element.closest("svg, noscript, script, style")) continue;
    const back = backgroundOf(element);
    const ink = blended(colourParts(getComputedStyle(element).color), back);
    const lights = [ink, back].map(luminance);
    const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    if (contrast < least) low.push(`${contrast.toFixed(1)}: ${elementName(element)}`);
  }
  return low;
}
