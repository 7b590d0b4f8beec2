// Form errors disappear as they are fixed, a sent form shows that it is busy, and the menu closes.
(() => {
  "use strict";

  // A message belongs to the value that was refused: it hides when that changes, and returns with it.
  const refused = new WeakMap();
  for (const field of document.querySelectorAll('[aria-invalid="true"]')) refused.set(field, field.value);
  function settle(field) {
    const isWrong = field.value === refused.get(field);
    const message = document.getElementById(`p-${field.id.replace(/^f-/, "")}`);
    field.toggleAttribute("aria-invalid", isWrong);
    if (isWrong) field.setAttribute("aria-invalid", "true");
    // A live region is filled as one types.
    if (message && !message.hasAttribute("aria-live")) message.hidden = !isWrong;
    const form = field.form;
    const summary = document.querySelector('.notice.bad[role="alert"]');
    if (form && summary) summary.hidden = !form.querySelector('[aria-invalid="true"]');
  }
  document.addEventListener("input", (typed) => {
    if (refused.has(typed.target)) settle(typed.target);
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
