// The exported page: no kernel, and the data beside the script.

const values = {
  map: pageBytes("map"),
  texts: pageBytes("texts"),
  traces: await unpack(pageBytes("traces")),
  ...(await unpack(pageBytes("start"))), // requested and tab
  unavailable: {},
  more: [],
  status: {},
};
await render({ model: pageModel(values), el: document.getElementById("view") });
