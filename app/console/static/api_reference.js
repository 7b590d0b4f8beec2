// Start Swagger UI on the description of this service. "Try it out" calls the origin of this page.
(async () => {
  "use strict";
  const place = document.getElementById("reference");
  const here = new URL(".", location.href);
  const theme = document.documentElement.dataset.theme;
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark-mode", dark);
  try {
    const response = await fetch(new URL("openapi.json", here));
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const spec = { ...(await response.json()), servers: [{ url: here.href.replace(/\/$/, "") }] };
    place.replaceChildren();
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
