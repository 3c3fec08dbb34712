// Elements and texts. All text goes into the document as text nodes: nothing here parses HTML.

/** Create an element with properties (class, title, on...) and children. Strings become text. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (name === "class") {
      element.className = value;
    } else if (name in element) {
      element[name] = value;
    } else if (isPresent(value)) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat(Infinity).filter(isPresent));
  return element;
}

function isPresent(value) {
  return value !== null && value !== undefined && value !== false;
}

// As in numbers.py, so that a rate reads the same everywhere
const EXACT = 1e-9;
const MAX_DIGITS = 4;

// Control characters, and those that would turn the reading direction of their surroundings
const HIDDEN_CHARACTERS =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** A text with its hidden characters spelled out as code points. */
function spelledOut(text) {
  return String(text ?? "").replace(HIDDEN_CHARACTERS, (character) => {
    const code = character.codePointAt(0).toString(16).toUpperCase();
    return `⟨U+${code.padStart(4, "0")}⟩`;
  });
}

/** A name that a narrow column may break behind an underscore. */
function breakable(name) {
  return spelledOut(name)
    .split(/(?<=_)/)
    .map((part, i) => [i ? h("wbr") : null, part]);
}

/** The beginning of a text as one line of whole words; a longer word than fits is cut. */
function oneLine(text, maxCharacters) {
  // Long texts are cut first, since the map asks for this on every move of the pointer.
  const beginning = String(text ?? "").slice(0, 4 * maxCharacters);
  const line = spelledOut(beginning).replace(/\s+/g, " ").trim();
  if (line.length <= maxCharacters) return line;
  const lastSpace = line.lastIndexOf(" ", maxCharacters);
  const end = lastSpace > maxCharacters / 2 ? lastSpace : maxCharacters;
  return `${line.slice(0, end).replace(/[\s,;:.]+$/, "")}…`;
}

/** A rate in percent, with more digits where it would round to 0 or 100 and is neither. */
function percent(rate, digits = 0) {
  if (rate === null || rate === undefined) return "n/a";
  const value = 100 * rate;
  for (const end of [0, 100]) {
    if (Math.abs(value - end) < EXACT) return `${end} %`;
  }
  const isNearAnEnd = Math.min(value, 100 - value) < 1;
  for (let places = Math.max(digits, isNearAnEnd); places <= MAX_DIGITS; places++) {
    const text = halfToEven(value, places);
    if (![0, 100].includes(Number(text))) return `${text} %`;
  }
  return value < 50 ? "<0.0001 %" : ">99.9999 %";
}

/** A number with this many places, where 12.5 becomes 12, as in Python, and not 13. */
function halfToEven(value, places) {
  const scaled = value * 10 ** places;
  const below = Math.floor(scaled);
  const isTie = scaled - below === 0.5 && Number.isInteger(value * 2 ** (places + 1));
  return (isTie ? (below + (below % 2)) / 10 ** places : value).toFixed(places);
}

function thousands(n) {
  return n.toLocaleString("en-US");
}

/** A text with [start, end) places marked. Places count code points, as Python does. */
function marked(text, places) {
  if (!places || !places.length) return [spelledOut(text)];
  const characters = Array.from(text);
  const parts = [];
  let position = 0;
  const part = (start, end) => spelledOut(characters.slice(start, end).join(""));
  for (const [start, end] of places) {
    if (start < position) continue;
    parts.push(part(position, start), h("mark", {}, part(start, end)));
    position = end;
  }
  return [...parts, part(position)];
}

/** The value in gzipped JSON, given as a DataView or Uint8Array. */
async function unpack(bytes) {
  const view = new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength);
  const stream = new Blob([view]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The smallest and the largest of the numbers that are not null; 0 and 1 where there are none. */
function range(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

/** A function that acts once its calls have paused for some milliseconds. */
function debounced(act, milliseconds) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds);
  };
}
