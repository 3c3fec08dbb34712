// The exported page: no kernel, and the data beside the script.

/** The bytes in one of the page's data elements. */
function pageBytes(name) {
  const binary = atob(document.getElementById(name).textContent);
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

const values = {
  map: pageBytes("map"),
  texts: pageBytes("texts"),
  traces: await unpack(pageBytes("traces")),
  unavailable: {},
  more: [],
  requested: [],
  status: {},
};
const pageModel = {
  get: (key) => values[key],
  set: (key, value) => {
    values[key] = value;
  },
  save_changes() {},
  on() {},
  off() {},
};
await render({ model: pageModel, el: document.getElementById("view") });
