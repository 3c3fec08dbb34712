// the page: no kernel, the data beside the script
const held = (name) => { const s = atob(document.getElementById(name).textContent), b = new Uint8Array(s.length); for (let i = 0; i < s.length; i++) b[i] = s.charCodeAt(i); return b; };
const state = { map: held("map"), texts: held("texts"), traces: await unpack(held("traces")), can: {}, more: [], asked: [], status: {} };
const still = { get: (key) => state[key], set: (key, value) => { state[key] = value; }, save_changes() {}, on() {}, off() {} };
await render({ model: still, el: document.getElementById("view") });
