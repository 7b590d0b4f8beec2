// Continue a search that found nothing yet, until it finds something, ends, or is stopped.
(async () => {
  "use strict";
  let box = document.querySelector("[data-continues]");
  let stopped = false;
  document.addEventListener("click", (click) => {
    if (!click.target.closest?.("[data-stop]")) return;
    stopped = true;
    click.target.closest("[data-stop]").remove();
  });
  for (const button of document.querySelectorAll("[data-stop]")) button.hidden = false;
  while (box && !stopped) {
    const address = box.dataset.continues;
    const response = await fetch(address).catch(() => undefined);
    if (stopped || !response?.ok || response.redirected) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const results = page.getElementById("results");
    if (!results) return;
    document.getElementById("results").replaceWith(results);
    for (const button of results.querySelectorAll("[data-stop]")) button.hidden = false;
    history.replaceState(null, "", address);
    document.dispatchEvent(new CustomEvent("htmx:after:swap"));
    box = results.querySelector("[data-continues]");
  }
})();
