// Links: the selection in the fragment of a page's address, such as #cluster=3&tab=trace. In a
// notebook the same text is the parameter `select`, which `selecting.py` reads.

const MAX_LINKED = 200; // exchanges that a link can list; more make an address too long
const TAB_NAMES = ["reader", "trace", "rows"];

/** The short form of a label in a link: of a cluster its number. */
function linkLabel(column, label) {
  return column === "cluster" ? String(label).split(":")[0] : String(label);
}

/** The category and label whose exchanges are just those picked; null where there is none. */
function pickedCategory(state) {
  const names = [...new Set(["cluster", state.colour, ...Object.keys(state.columns)])];
  const picked = new Set(state.picked);
  for (const name of names) {
    const column = state.columns[name];
    if (!column || !picked.size) continue;
    const code = column.codes[state.picked[0]];
    const size = column.codes.filter((other) => other === code).length;
    const isWhole = size === picked.size && state.picked.every((i) => column.codes[i] === code);
    if (isWhole) return [name, linkLabel(name, column.labels[code])];
  }
  return null;
}

/** The link of the selection, without its #; "" where it cannot have one. */
function linkOf(state) {
  const ids = state.texts?.id;
  const parts = new URLSearchParams();
  const category = pickedCategory(state);
  if (category) parts.set(...category);
  else if (ids && state.picked.length && state.picked.length <= MAX_LINKED) {
    parts.set("ids", state.picked.map((i) => ids[i]).join(","));
  } else return "";
  const read = ids?.[readExchangeOf(state)];
  if (read && state.current > 0) parts.set("read", read);
  if (state.tab !== "reader") parts.set("tab", state.tab);
  return parts.toString().replaceAll("%2C", ",");
}

/** What a link names: { positions, first, tab }; null where it names nothing that is here. */
function readLink(state, link) {
  const parts = new URLSearchParams(link.replace(/^#/, ""));
  const conditions = [];
  for (const [name, { labels, codes }] of Object.entries(state.columns)) {
    if (!parts.has(name)) continue;
    const code = labels.findIndex((label) => linkLabel(name, label) === parts.get(name));
    conditions.push((i) => codes[i] === code);
  }
  const ids = state.texts?.id ?? [];
  if (parts.has("ids")) {
    const wanted = new Set(parts.get("ids").split(","));
    conditions.push((i) => wanted.has(ids[i]));
  }
  if (!conditions.length) return null;
  const positions = Array.from(state.x.keys()).filter((i) => conditions.every((holds) => holds(i)));
  if (!positions.length) return null;
  const tab = TAB_NAMES.includes(parts.get("tab")) ? parts.get("tab") : "reader";
  return { positions, first: ids.indexOf(parts.get("read")), tab };
}
