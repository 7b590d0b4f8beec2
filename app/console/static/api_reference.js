// Show the OpenAPI description of this service, and send requests to the origin of this page.
(async () => {
  "use strict";
  const place = document.getElementById("operations");
  const here = new URL(".", location.href);
  const key = document.getElementById("key");
  const EXAMPLE_TIME = "2026-11-24T10:00:00Z";
  const EXAMPLE_EVENT = "ord-1001:node-7";
  // Ids of the key's own destination, and the ids of the examples that they replace.
  const own = new Map();

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== undefined));
    return made;
  }

  // The inline marks that the descriptions use: `code`, **bold**, *emphasis*.
  function inline(text) {
    return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/).map((part) => {
      if (part.startsWith("`")) return element("code", {}, part.slice(1, -1));
      if (part.startsWith("**")) return element("strong", {}, part.slice(2, -2));
      return part.startsWith("*") ? element("em", {}, part.slice(1, -1)) : part;
    });
  }
  const paragraphs = (text) => (text || "").split(/\n\s*\n/).filter(Boolean).map((each) => element("p", {}, ...inline(each)));

  let spec;
  try {
    const response = await fetch(new URL("openapi.json", here));
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    spec = await response.json();
  } catch (error) {
    place.textContent = `The description could not be loaded (${error.message}). Reload the page.`;
    return;
  }
  const resolve = (schema) => (schema?.$ref ? spec.components[schema.$ref.split("/")[2]][schema.$ref.split("/")[3]] : schema || {});

  // An example of a schema, from the examples, defaults and types of its members.
  function exampleOf(given, depth = 0) {
    const schema = resolve(given);
    if (schema.example !== undefined) return schema.example;
    if (schema.examples?.length) return schema.examples[0];
    if (schema.default !== undefined && schema.default !== null) return schema.default;
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    const choices = schema.anyOf || schema.oneOf || schema.allOf;
    if (choices) return exampleOf(choices[0], depth);
    if (schema.properties && depth < 6) {
      return Object.fromEntries(Object.entries(schema.properties).map(([name, member]) => [name, exampleOf(member, depth + 1)]));
    }
    if (schema.type === "array") return depth < 6 ? [exampleOf(schema.items, depth + 1)] : [];
    if (schema.format === "date-time") return EXAMPLE_TIME;
    return { string: "…", integer: 0, number: 0, boolean: false, object: {} }[schema.type] ?? null;
  }

  function typeOf(given) {
    const schema = resolve(given);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    const choices = schema.anyOf || schema.oneOf;
    if (choices) return choices.map(typeOf).join(" | ");
    if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
    return schema.format || schema.title || schema.type || "any value";
  }

  // The members of an object and of the objects in it.
  function members(given, depth = 0) {
    let schema = resolve(given);
    while (schema.type === "array") schema = resolve(schema.items);
    const choice = (schema.anyOf || schema.oneOf || []).map(resolve).find((each) => each.properties || each.type === "array");
    if (choice) return members(choice, depth);
    const entries = Object.entries(schema.properties || {});
    if (!entries.length || depth > 4) return undefined;
    return element("dl", { class: "members" }, ...entries.flatMap(([name, member]) => {
      const meaning = member.description || resolve(member).description;
      const inner = members(member, depth + 1);
      return [
        element("dt", {}, element("code", {}, name), " ", element("span", { class: "quiet" }, typeOf(member) + ((schema.required || []).includes(name) ? "" : ", optional"))),
        element("dd", {}, ...(meaning ? inline(meaning.split("\n\n")[0]) : []), ...(inner ? [inner] : [])),
      ];
    }));
  }

  // Fill in the ids of the key's own destination, the time of now, and an event id that is new.
  function filled(text) {
    const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    let result = text.replaceAll(EXAMPLE_TIME, now).replaceAll(EXAMPLE_EVENT, `ord-${Date.now()}:node-7`);
    for (const [example, id] of own) result = result.replaceAll(example, id);
    return result;
  }

  // JSON with links from reasons to their remedies, and Copy.
  function shown(text, label) {
    const pre = element("pre", { tabindex: "0", "aria-label": label });
    for (const part of text.split(/("reason": ?"[a-z_]+")/)) {
      const reason = /^"reason": ?"([a-z_]+)"$/.exec(part)?.[1];
      const target = reason && document.getElementById(`reason-${reason}`);
      if (!target) { pre.append(part); continue; }
      pre.append(part.slice(0, part.lastIndexOf('"', part.length - 2) + 1), element("a", { href: `#${target.id}` }, reason), '"');
    }
    return pre;
  }

  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const more = (headers) => headers.map(([name, value]) => `, ${JSON.stringify(name)}: ${JSON.stringify(value)}`).join("");
  const SAMPLES = {
    curl: ({ method, url, headers, body }) =>
      [`curl -sS -X ${method} ${quoted(url)} -H "Authorization: Bearer $KEY"`, ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`), ...(body ? [`--data-binary ${quoted(body)}`] : [])].join(" \\\n  "),
    Python: ({ method, url, headers, body }) =>
      `import os\nimport urllib.request\n\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)},\n    method="${method}",\n    headers={"Authorization": f"Bearer {os.environ['KEY']}"${more(headers)}},\n${body ? `    data=${JSON.stringify(body)}.encode(),\n` : ""})\nwith urllib.request.urlopen(request) as response:\n    print(response.status, response.read().decode())`,
    JavaScript: ({ method, url, headers, body }) =>
      `const response = await fetch(${JSON.stringify(url)}, {\n  method: "${method}",\n  headers: { Authorization: \`Bearer \${process.env.KEY}\`${more(headers)} },\n${body ? `  body: ${JSON.stringify(body)},\n` : ""}});\nconsole.log(response.status, await response.text());`,
  };

  function choice(label, values, use) {
    const select = element("select", {}, ...values.map((value) => element("option", {}, value)));
    select.addEventListener("change", () => use(select.value));
    return element("label", {}, label, select);
  }

  function show(method, path, operation) {
    const content = operation.requestBody?.content || {};
    const bodies = new Map();
    for (const [type, { schema, example, examples }] of Object.entries(content)) {
      const values = examples ? Object.values(examples).map((each) => [each.summary, each.value]) : [[type, example ?? exampleOf(schema)]];
      for (const [name, value] of values) bodies.set(name, { type, text: typeof value === "string" ? value : JSON.stringify(value, null, 2) });
    }
    const box = element("div", { class: "operation" }, ...paragraphs(operation.description));
    const inputs = (operation.parameters || []).map((parameter) => {
      const { name, in: where, required, description, schema } = parameter;
      const options = resolve(schema).enum;
      const input = options
        ? element("select", {}, ...(required ? [] : [element("option", { value: "" }, "–")]), ...options.map((value) => element("option", {}, value)))
        : element("input", { autocomplete: "off", spellcheck: "false", required: required || undefined });
      if (where === "path") input.value = filled(`{${name}}`);
      box.append(element("label", {}, element("code", {}, name), ` ${required ? "" : "optional "}`, element("span", { class: "help" }, ...inline(description || "")), input));
      return { name, where, input };
    });
    let type = [...bodies.values()][0]?.type;
    const area = element("textarea", { rows: "12", spellcheck: "false" });
    if (bodies.size) {
      const use = (name) => { ({ type } = bodies.get(name)); area.value = filled(bodies.get(name).text); area.rows = Math.min(24, area.value.split("\n").length + 1); sample(); };
      if (bodies.size > 1) box.append(choice("Example", [...bodies.keys()], use));
      box.append(element("label", {}, "Request body", area));
      area.value = filled([...bodies.values()][0].text);
      const described = members(Object.values(content)[0].schema);
      if (described) box.append(element("details", {}, element("summary", {}, "Members of the body"), described));
    }

    function request() {
      let address = path;
      const query = new URLSearchParams();
      const headers = [];
      for (const { name, where, input } of inputs) {
        if (where === "path") address = address.replace(`{${name}}`, encodeURIComponent(input.value || `{${name}}`));
        else if (input.value && where === "query") query.set(name, input.value);
        else if (input.value) headers.push([name, input.value]);
      }
      const body = bodies.size ? area.value : "";
      if (body) headers.push(["Content-Type", type]);
      const url = new URL(address.slice(1), here).href + (query.size ? `?${query}` : "");
      return { method, url, headers, body };
    }
    const code = element("pre", { tabindex: "0", class: "wrap" });
    let language = "curl";
    const sample = () => {
      code.textContent = SAMPLES[language](request());
      code.setAttribute("aria-label", `Example in ${language}`);
    };
    box.addEventListener("input", sample);

    const output = element("div", { "aria-live": "polite" });
    const run = element("button", { type: "button", class: "primary" }, "Send request");
    run.addEventListener("click", async () => {
      const { url, headers, body } = request();
      const begun = performance.now();
      run.disabled = true;
      try {
        if (key.value) headers.push(["Authorization", `Bearer ${key.value}`]);
        const response = await fetch(url, { method, headers, body: body || undefined, credentials: "omit" });
        const text = await response.text();
        let pretty = text;
        try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: shown as it is */ }
        output.replaceChildren(
          element("p", { class: "status" }, element("strong", {}, `${response.status}`), ` ${spec.paths[path][method.toLowerCase()].responses[response.status]?.description || ""} ${Math.round(performance.now() - begun)} ms`),
          shown(pretty, "Response body"),
        );
      } catch (error) {
        output.replaceChildren(element("p", { class: "status" }, `No response: ${error.message}`));
      }
      run.disabled = false;
    });
    const samples = element("details", {}, element("summary", {}, "As code"), choice("Language", Object.keys(SAMPLES), (name) => { language = name; sample(); }), code);
    box.append(element("p", { class: "buttons" }, run), output, samples);

    const responses = Object.entries(operation.responses).map(([status, given]) => {
      const response = resolve(given);
      const [media, { schema, example, examples } = {}] = Object.entries(response.content || {})[0] || [];
      const parts = paragraphs(response.description);
      if (media) {
        const values = examples ? Object.entries(examples) : [["", { value: example ?? exampleOf(schema) }]];
        for (const [name, { summary, value }] of values) {
          if (summary || values.length > 1) parts.push(element("p", { class: "help" }, summary || element("code", {}, name)));
          parts.push(shown(typeof value === "string" ? value : JSON.stringify(value, null, 2), `Example of ${status}`));
        }
        const described = members(schema);
        if (described) parts.push(element("details", {}, element("summary", {}, "Members"), described));
      }
      return element("details", {}, element("summary", {}, element("strong", {}, status), ` ${(response.description || "").split("\n")[0]}`), ...parts);
    });
    box.append(element("h4", {}, "Responses"), ...responses);
    sample();
    return box;
  }

  const opened = [];
  place.replaceChildren();
  for (const { name: tag, description } of spec.tags) {
    const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, operation]) => operation.tags[0] === tag).map(([method, operation]) => [method.toUpperCase(), path, operation]));
    if (!operations.length) continue;
    const section = element("section", {}, element("h3", {}, tag), element("p", { class: "help" }, description));
    for (const [method, path, operation] of operations) {
      const details = element("details", { class: "card op", id: operation.operationId }, element("summary", {}, element("span", { class: `method ${method.toLowerCase()}` }, method), " ", element("code", {}, path), " ", element("span", { class: "quiet" }, operation.summary)));
      const fill = () => {
        details.querySelector(".operation")?.remove();
        details.append(show(method, path, operation));
      };
      details.addEventListener("toggle", () => { if (details.open && !details.querySelector(".operation")) fill(); });
      opened.push({ details, fill, words: `${method} ${path} ${operation.summary}`.toLowerCase() });
      section.append(details);
    }
    place.append(section);
  }

  const filter = document.getElementById("filter");
  const find = () => {
    const words = filter.value.toLowerCase();
    for (const { details, words: text } of opened) details.hidden = !text.includes(words);
    for (const section of place.children) section.hidden = !section.querySelector(".op:not([hidden])");
  };
  filter.addEventListener("input", find);
  find(); // what was typed before the description arrived
  const target = opened.find(({ details }) => `#${details.id}` === location.hash);
  if (target) {
    target.details.open = true;
    target.details.scrollIntoView();
  }

  // With a key, the examples name a destination and a mapping that the key can use.
  const useOwnIds = async () => {
    const help = document.getElementById("key-help");
    const read = async (path) => {
      const response = await fetch(new URL(path, here), { headers: { Authorization: `Bearer ${key.value}` }, credentials: "omit" });
      return response.ok ? (await response.json()).items : [];
    };
    own.clear();
    const destinations = key.value ? await read("destinations?limit=200") : [];
    const destination = destinations.find((each) => each.state === "active") || destinations[0];
    if (destination) {
      const mapping = (await read(`destinations/${destination.id}/mappings?limit=200`)).find((each) => each.published_version);
      for (const example of ["dst_0a1b2c3d4e5f6g7h8i9j", "{destination_id}"]) own.set(example, destination.id);
      if (mapping) for (const example of ["map_0a1b2c3d4e5f6g7h8i9j", "{mapping_id}"]) own.set(example, mapping.id);
      help.textContent = `The examples use the destination “${destination.name}”.`;
    } else help.textContent = key.value ? "This key cannot list destinations. Replace the ids of the examples." : "";
    for (const { details, fill } of opened) if (details.querySelector(".operation")) fill();
  };
  key.addEventListener("change", useOwnIds);
  if (key.value) useOwnIds();
})();
