// Select all rows of a table by the checkbox in its head.
(() => {
  "use strict";
  for (const all of document.querySelectorAll("[data-check-all]")) {
    const boxes = [...document.querySelectorAll(`input[name="event"][form="${all.dataset.checkAll}"]:not(:disabled)`)];
    // If no row is selected, the browser says so, and the list keeps its filter.
    document.getElementById(all.dataset.checkAll).addEventListener("click", () => {
      boxes[0]?.setCustomValidity(boxes.some((one) => one.checked) ? "" : "Select at least one event.");
    });
    all.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; });
    for (const box of boxes) {
      box.addEventListener("change", () => {
        const checked = boxes.filter((one) => one.checked).length;
        all.checked = checked === boxes.length;
        all.indeterminate = checked > 0 && checked < boxes.length;
      });
    }
  }
})();
