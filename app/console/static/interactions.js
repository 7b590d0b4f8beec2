// Form errors disappear as they are fixed, a sent form shows that it is busy, and the menu closes.
(() => {
  "use strict";

  // A message belongs to the value that was refused: it hides when that changes, and returns with it.
  // The inputs of a row of the mapping form, or the choices of a group, are one value.
  const INPUTS = "input, select, textarea";
  const placeOf = (field) => field.closest(".row, [role=radiogroup]") ?? field;
  const valueOf = (place) => (place.matches(INPUTS) ? [place] : [...place.querySelectorAll(INPUTS)])
    .map((field) => (field.type === "radio" ? field.checked : field.value)).join("\n");
  const refused = new Map();
  for (const field of document.querySelectorAll('[aria-invalid="true"]')) {
    const place = placeOf(field);
    const known = refused.get(place) ?? { value: valueOf(place), fields: [] };
    refused.set(place, { ...known, fields: [...known.fields, field] });
  }
  function settle(place) {
    const { value, fields } = refused.get(place);
    const isWrong = valueOf(place) === value;
    for (const field of fields) {
      if (isWrong) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
      for (const id of (field.getAttribute("aria-describedby") ?? "").split(" ")) {
        const message = document.getElementById(id);
        // A live region is filled as one types.
        if (id.startsWith("p-") && message && !message.hasAttribute("aria-live")) message.hidden = !isWrong;
      }
    }
    const form = fields[0].closest("form");
    const summary = document.querySelector('.notice.bad[role="alert"]');
    if (form && summary) summary.hidden = !form.querySelector('[aria-invalid="true"]');
  }
  document.addEventListener("input", (typed) => {
    const place = typed.target instanceof Element ? placeOf(typed.target) : undefined;
    if (refused.has(place)) settle(place);
  });

  // Begin where something is wrong.
  document.querySelector('[aria-invalid="true"]')?.focus();

  document.addEventListener("submit", (sent) => {
    if (!sent.defaultPrevented && sent.target.method === "post") sent.submitter?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("button[aria-busy]")) button.removeAttribute("aria-busy");
  });

  for (const menu of document.querySelectorAll("details.more")) {
    document.addEventListener("click", (click) => {
      if (!menu.contains(click.target)) menu.open = false;
    });
    menu.addEventListener("keydown", (key) => {
      if (key.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }
})();
