// Full screen: by the browser where it can, else over the rest of the page.

/** A button that shows an element in full screen, and brings it back. */
function fullScreenButton(root) {
  const button = h("button", { class: "ck-fullscreen", onclick: toggle }, "Full screen");
  let isFilled = false; // without the browser's full screen

  function show() {
    const isFull = isFilled || root.matches(":fullscreen");
    root.classList.toggle("ck-full", isFull);
    button.textContent = isFull ? "Leave full screen" : "Full screen";
    button.setAttribute("aria-pressed", String(isFull));
  }

  async function toggle() {
    if (root.matches(":fullscreen")) await document.exitFullscreen();
    else if (isFilled) isFilled = false;
    else {
      try {
        await root.requestFullscreen();
      } catch {
        isFilled = true;
      }
    }
    show();
  }

  function leave(event) {
    if (event.key !== "Escape" || !isFilled) return;
    isFilled = false;
    show();
  }

  root.addEventListener("fullscreenchange", show);
  root.addEventListener("keydown", leave);
  show();
  return button;
}
