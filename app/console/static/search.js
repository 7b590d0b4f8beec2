// Continue a search that found nothing yet, until it finds something, ends, fails, or is stopped.
(() => {
  "use strict";
  let box = document.querySelector("[data-continues]");
  let stopped = false;

  async function search() {
    while (box && !stopped) {
      const address = box.dataset.continues;
      const response = await fetch(address).catch(() => undefined);
      if (stopped) return;
      if (response?.redirected) {
        location.assign(response.url); // the only event with this ID, or the sign-in
        return;
      }
      const text = response?.ok ? await response.text().catch(() => "") : "";
      const results = new DOMParser().parseFromString(text, "text/html").getElementById("results");
      if (stopped) return;
      if (!results) {
        offerRetry();
        return;
      }
      document.getElementById("results").replaceWith(results);
      show(results);
      history.replaceState(null, "", address);
      document.dispatchEvent(new CustomEvent("htmx:after:swap"));
      box = results.querySelector("[data-continues]");
    }
  }

  function offerRetry() {
    const progress = box;
    const message = document.createElement("p");
    message.className = "notice bad";
    message.setAttribute("role", "alert");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
    button.addEventListener("click", () => {
      message.replaceWith(progress);
      search();
    });
    message.append("The search stopped: no response from the service. ", button);
    progress.replaceWith(message);
  }

  function show(root) {
    for (const button of root.querySelectorAll("[data-stop]")) button.hidden = false;
  }

  document.addEventListener("click", (click) => {
    if (!click.target.closest?.("[data-stop]")) return;
    stopped = true;
    click.target.closest("[data-stop]").remove();
  });
  show(document);
  search();
})();
