// Live tail: pause and resume. A paused page keeps its rows; resuming shows the newest again.
(() => {
  "use strict";
  const button = document.getElementById("pause");
  const panel = document.querySelector("[data-live]");
  if (!button || !panel || !window.EventSource) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const paused = panel.toggleAttribute("data-paused");
    button.textContent = paused ? "Resume" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
    document.dispatchEvent(new CustomEvent(paused ? "live:pause" : "live:resume"));
  });
})();
