// The labelling view as a page: no kernel, and the exchanges beside the script.

const values = { items: pageBytes("items"), isPage: true };
await render({ model: pageModel(values), el: document.getElementById("view") });
