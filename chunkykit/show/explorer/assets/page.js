// The exported page: no kernel, and the data beside the script.

const values = {
  map: pageBytes("map"),
  texts: pageBytes("texts"),
  traces: await unpack(pageBytes("traces")),
  unavailable: {},
  more: [],
  requested: [],
  status: {},
};
await render({ model: pageModel(values), el: document.getElementById("view") });
