// Start Swagger UI on the description of this service. "Try it out" calls the origin of this page.
(async () => {
  "use strict";
  const place = document.getElementById("reference");
  const here = new URL(".", location.href);
  const theme = document.documentElement.dataset.theme;
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark-mode", dark);

  // What Swagger UI leaves out for keyboards and screen readers: selector, attribute, value.
  const ATTRIBUTES = [
    ["textarea.body-param__text", "aria-label", "Request body"],
    ["#servers", "aria-label", "Server"],
    [".content-type, .body-param-content-type select", "aria-label", "Media type"],
    ["select", "aria-label", "Value"],
    ["pre.microlight", "tabindex", "0"],
    [".information-container, .scheme-container", "role", "region"],
    [".information-container", "aria-label", "About this API"],
    [".scheme-container", "aria-label", "Server and key"],
    [".swagger-ui > div > div:has(> .filter, .operation-filter-input)", "role", "search"],
    [".opblock-tag", "aria-level", "2"],
    [".opblock-section-header h4, .responses-inner h4, .responses-inner h5", "aria-level", "3"],
  ];
  function complete() {
    for (const [selector, attribute, value] of ATTRIBUTES) {
      for (const found of place.querySelectorAll(selector)) {
        if (!found.hasAttribute(attribute)) found.setAttribute(attribute, value);
      }
    }
    // A link inside a button: the button sets the address itself.
    for (const link of place.querySelectorAll("button a[href], h3 > a[href]")) link.removeAttribute("href");
  }

  try {
    const response = await fetch(new URL("openapi.json", here));
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const spec = { ...(await response.json()), servers: [{ url: here.href.replace(/\/$/, "") }] };
    place.replaceChildren();
    new MutationObserver(complete).observe(place, { childList: true, subtree: true });
    SwaggerUIBundle({
      spec,
      domNode: place,
      deepLinking: true,
      filter: true,
      tryItOutEnabled: true,
      displayRequestDuration: true,
      defaultModelsExpandDepth: -1,
      validatorUrl: null,
      persistAuthorization: false, // a key is never written to the browser's storage
    });
  } catch (error) {
    place.textContent = `The description could not be loaded (${error.message}). Reload the page.`;
  }
})();
