"""A real browser for tests: the Chromium, how it is opened, and what is wrong with a page's layout.

`layout_faults(page)` is for any page: of the explorer, of a report, or of a notebook.
"""

import importlib.util
import shutil

import pytest

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROME = next(filter(None, map(shutil.which, CHROMES)), None)
CAN_BROWSE = CHROME and importlib.util.find_spec("playwright")
BROWSER_MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CAN_BROWSE,
        reason="needs playwright and a Chromium (Debian: apt-get install chromium)",
    ),
]
WAIT = 120_000  # milliseconds, for a busy machine


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. A module that imports this fixture shares it among its tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROME, args=["--no-sandbox"])
        yield chromium
        chromium.close()


# An atom is a control, or an element with words of its own. Of each only what its ancestors leave
# visible counts: a scrolling box cuts what is outside, and that is no fault.
LAYOUT_FAULTS = """({ root, over, scrolls }) => {
  const SLACK = 1.5;
  const faults = [];
  const name = (element) => {
    const kind = element.className ? `.${String(element.className).split(" ").join(".")}` : "";
    return `${element.tagName.toLowerCase()}${kind} "${(element.textContent || "").slice(0, 40)}"`;
  };
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const hasWords = (element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const isControl = (element) => element.matches("button, select, input, textarea, progress");
  const cuts = (style, axis) => style[`overflow${axis}`] !== "visible";

  const meet = (a, b) => ({
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  });
  const isEmpty = (box) => box.right - box.left <= SLACK || box.bottom - box.top <= SLACK;
  const wordBoxes = (element) => {
    if (isControl(element)) return [element.getBoundingClientRect()];
    const boxes = [];
    for (const node of element.childNodes) {
      if (node.nodeType !== 3 || !node.data.trim()) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      boxes.push(...range.getClientRects());
    }
    return boxes;
  };
  // What of a box is seen, and whether words are cut at the side by a box that does not scroll.
  const seen = (element, box) => {
    let visible = box;
    let isCut = false;
    for (let outer = element; outer && outer !== document.body; outer = outer.parentElement) {
      const style = getComputedStyle(outer);
      if (style.position === "fixed") break;
      if (!cuts(style, "X") && !cuts(style, "Y")) continue;
      const frame = outer.getBoundingClientRect();
      const ends = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none";
      const isOut = visible.left < frame.left - SLACK || visible.right > frame.right + SLACK;
      if (isOut && !ends && !outer.matches(scrolls) && outer !== element) isCut = true;
      visible = meet(visible, frame);
    }
    return { visible, isCut };
  };

  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width + SLACK) faults.push("the page scrolls sideways");
  const atoms = [];
  for (const element of document.querySelectorAll(`${root} *`)) {
    if (!isShown(element)) continue;
    const style = getComputedStyle(element);
    if (element.scrollWidth > element.clientWidth + SLACK && element.clientWidth) {
      const ends = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none";
      const isFree = style.display === "inline" || element.matches("canvas, select, input, textarea");
      if (!ends && !isFree && !element.matches(scrolls)) faults.push(`too wide: ${name(element)}`);
    }
    if (!isControl(element) && !hasWords(element)) continue;
    if (element.parentElement.closest("button, select, svg")) continue;
    for (const box of wordBoxes(element)) {
      const { visible, isCut } = seen(element, box);
      if (isEmpty(visible)) continue;
      if (isCut) faults.push(`cut: ${name(element)}`);
      const isOut = visible.left < -SLACK || visible.right > width + SLACK;
      if (isOut && !element.closest(scrolls)) faults.push(`leaves the page: ${name(element)}`);
      atoms.push({ element, box: visible });
    }
  }
  const isOver = (element) => over && element.closest(over);
  atoms.forEach((a, i) => {
    for (const b of atoms.slice(0, i)) {
      if (a.element.contains(b.element) || b.element.contains(a.element)) continue;
      if (isOver(a.element) || isOver(b.element)) continue;
      if (!isEmpty(meet(a.box, b.box))) faults.push(`${name(a.element)} lies over ${name(b.element)}`);
    }
  });
  return [...new Set(faults)];
}"""


def layout_faults(page, root: str = "body", over: str = "", scrolls: str = ".none") -> list[str]:
    """What is wrong with the layout of a page, as it is on the screen now.

    Args:
        page: the page of a browser.
        root: selector of what is checked.
        over: selector of what may lie over other things, such as a tooltip.
        scrolls: selector of boxes that may scroll sideways, such as one around a wide table.

    Returns:
        A line per fault: words or controls that overlap, are cut, or leave the page, boxes that are
        too narrow for what is in them, and a page that scrolls sideways.
    """
    options = {"root": root, "over": over, "scrolls": scrolls}
    return page.evaluate(LAYOUT_FAULTS, options)


CONTRASTS = """(root) => {
  const parts = (colour) => colour.match(/[\\\\d.]+/g).map(Number);
  const over = (front, back) => {
    const [r, g, b, alpha = 1] = front;
    return [r, g, b].map((part, i) => alpha * part + (1 - alpha) * back[i]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (element) => {
    if (!element) return [255, 255, 255];
    const own = parts(getComputedStyle(element).backgroundColor);
    return own[3] === 0 ? back(element.parentElement) : over(own, back(element.parentElement));
  };
  const low = [];
  for (const element of document.querySelectorAll(`${root} *`)) {
    const hasWords = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!hasWords || element.disabled || !element.checkVisibility()) continue;
    if (element.closest("svg, noscript, script, style")) continue;
    const behind = back(element);
    const lights = [over(parts(getComputedStyle(element).color), behind), behind].map(light);
    const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    if (contrast < 4.5) low.push(`${contrast.toFixed(1)}: ${element.textContent.slice(0, 40)}`);
  }
  return low;
}""".replace("\\\\", "\\")


def low_contrasts(page, root: str = "body") -> list[str]:
    """The words of a page that stand out too little from what is behind them (WCAG AA, 4.5 to 1).

    Args:
        page: the page of a browser.
        root: selector of what is checked.

    Returns:
        A line per element: the contrast and the beginning of its words.
    """
    return page.evaluate(CONTRASTS, root)
