// Texts that leave the view: to a file, or to the clipboard.

const FORMULA_START = /^[=+\-@\t\r]/; // of a cell that a spreadsheet would execute

/** Rows of texts as CSV. */
function csvText(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const inert = FORMULA_START.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

/** Save a text as a download. */
function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text]));
  h("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

/** Copy a text; `near` is an element of the view. Returns whether that worked. */
async function copyText(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyFromField(text, near); // a server without https has no clipboard
  }
}

function copyFromField(text, near) {
  const field = h("textarea", { value: text, class: "ck-unseen", "aria-hidden": "true" });
  near.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}
