// The mapping editor: rows, the picker of event fields, transforms as chips, results by row, unsaved changes.
// Everything here adds to a form that works without it.
(() => {
  "use strict";

  const form = document.getElementById("mapping");
  if (!form) return;
  const PICKER = "input[name$='.path'], textarea[name$='.others']";
  const typed = (element) => element.dispatchEvent(new Event("input", { bubbles: true }));
  const build = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // --- Rows -----------------------------------------------------------------

  function addRow(button) {
    const rows = document.getElementById(button.dataset.addRow);
    const template = document.getElementById(`${button.dataset.addRow}-template`);
    const number = Number(rows.dataset.next);
    rows.dataset.next = number + 1;
    const row = template.content.cloneNode(true);
    for (const part of row.querySelectorAll("[name],[id]")) {
      for (const attribute of ["name", "id", "value", "aria-describedby"]) {
        if (part.hasAttribute(attribute)) part.setAttribute(attribute, part.getAttribute(attribute).replace("#", number));
      }
    }
    rows.append(row);
    prepare(rows.lastElementChild);
    rows.lastElementChild.querySelector("input").focus();
    count(rows);
  }

  // Replace the button of a row by the inputs for which the row has no room at first.
  function addInputs(button) {
    const extras = document.getElementById("extras-template").content.cloneNode(true);
    for (const label of extras.querySelectorAll("[data-takes]")) if (label.dataset.takes !== button.dataset.takes) label.remove();
    if (button.dataset.decides === undefined) extras.querySelector("[data-decides]").remove();
    for (const input of extras.querySelectorAll("[name]")) input.name = input.name.replace("#", button.value.slice("open-".length));
    const place = button.parentElement;
    button.replaceWith(extras);
    prepare(place);
    place.querySelector("summary").focus();
  }

  function removeRow(button) {
    const row = button.closest(".row");
    const rows = row.parentElement;
    const next = row.nextElementSibling || row.previousElementSibling;
    row.remove();
    (next?.querySelector("input") || document.querySelector(`[data-add-row="${rows.id}"]`))?.focus();
    count(rows);
    typed(rows);
  }

  // Show the row limit as rows are added, and on the button when it is reached.
  function count(rows) {
    const button = document.querySelector(`[data-add-row="${rows.id}"]`);
    if (!button) return;
    const there = rows.querySelectorAll(".row").length;
    const most = Number(button.dataset.most);
    button.disabled = there >= most;
    const message = document.getElementById(`${rows.id}-count`);
    if (message) message.textContent = there >= most ? `${there} of ${most}: Amazon accepts no more.` : `${there} of ${most}`;
  }

  form.addEventListener("click", (click) => {
    const button = click.target.closest("button");
    if (!button) return;
    if (button.dataset.addRow) addRow(button);
    else if (button.value.startsWith("open-")) {
      click.preventDefault();
      addInputs(button);
    }
    else if (button.classList.contains("remove")) removeRow(button);
    else if (button.value.startsWith("event-id-")) {
      click.preventDefault();
      const input = form.elements["fields.event_id.path"];
      input.value = button.textContent;
      typed(input);
    }
    else if (button.dataset.sample !== undefined) {
      click.preventDefault();
      const sample = document.getElementById("sample");
      // The sample that the page was opened with is in it already.
      sample.value = button.dataset.sample ? JSON.stringify(JSON.parse(button.dataset.sample), null, 2) : sample.defaultValue;
      typed(sample);
    }
  });

  // --- Picker: a list of event fields under the input, by the ARIA combobox pattern ---------------

  const offers = [...document.querySelectorAll("#paths option")].map((option) => ({
    path: option.value, why: option.textContent, fits: (option.dataset.fits || "").split(" "),
  }));
  const list = build("ul", { id: "picker", className: "picker", hidden: true });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Event fields");
  document.querySelector("main").append(list);
  let owner = null, active = -1;

  // The text that the picker completes: all of an input, or the line of a textarea at the caret.
  function line(input) {
    if (input.tagName === "INPUT") return [0, input.value.length];
    const start = input.value.lastIndexOf("\n", input.selectionStart - 1) + 1;
    const end = input.value.indexOf("\n", start);
    return [start, end < 0 ? input.value.length : end];
  }
  const fieldOf = (input) => input.name.replace(/\.\w+$/, "");

  function matching(input) {
    const text = input.value.slice(...line(input)).trim();
    const words = text.toLowerCase();
    const field = fieldOf(input);
    const found = offers.filter((offer) => offer.path.toLowerCase().includes(words));
    // A complete path shows all fields, to choose another.
    const shown = found.length === 1 && found[0].path === text ? offers : found;
    return [...shown].sort((a, b) => b.fits.includes(field) - a.fits.includes(field)).slice(0, 60);
  }

  function expand(input, is) {
    if (input.tagName === "INPUT") input.setAttribute("aria-expanded", String(is));
  }

  function open(input) {
    const field = fieldOf(input);
    const found = matching(input);
    owner = input;
    active = -1;
    list.replaceChildren(...found.map((offer, number) => {
      const item = build("li", { id: `picker-${number}` }, build("span", { className: "mono", textContent: offer.path }),
        build("span", { className: "why", textContent: offer.fits.includes(field) ? `suggested · ${offer.why}` : offer.why }));
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.dataset.path = offer.path;
      return item;
    }));
    list.hidden = found.length === 0;
    expand(input, !list.hidden);
    input.removeAttribute("aria-activedescendant");
    place();
  }

  function place() {
    if (!owner || list.hidden) return;
    const box = owner.getBoundingClientRect();
    list.style.left = `${box.left + scrollX}px`;
    list.style.top = `${box.bottom + scrollY + 2}px`;
    list.style.width = `${Math.max(box.width, Math.min(320, innerWidth - box.left - 8))}px`;
  }

  function close() {
    if (!owner) return;
    expand(owner, false);
    owner.removeAttribute("aria-activedescendant");
    list.hidden = true;
    owner = null;
  }

  function move(step) {
    const items = [...list.children];
    items[active]?.setAttribute("aria-selected", "false");
    active = (active + step + items.length + (active < 0 && step < 0 ? 1 : 0)) % items.length;
    items[active].setAttribute("aria-selected", "true");
    items[active].scrollIntoView({ block: "nearest" });
    owner.setAttribute("aria-activedescendant", items[active].id);
  }

  function choose(item) {
    const input = owner;
    input.setRangeText(item.dataset.path, ...line(input), "end");
    close();
    typed(input);
  }

  list.addEventListener("pointerdown", (press) => {
    press.preventDefault(); // keep the focus in the input
    const item = press.target.closest("li");
    if (item) choose(item);
  });
  form.addEventListener("focusin", (focus) => {
    if (focus.target !== owner) close();
  });
  form.addEventListener("focusout", (blur) => { if (blur.target === owner) close(); });
  form.addEventListener("click", (click) => {
    if (click.target.matches(PICKER) && click.target !== owner) open(click.target);
  });
  form.addEventListener("input", (event) => {
    if (event.target.matches?.(PICKER) && event.target === document.activeElement) open(event.target);
  });
  addEventListener("resize", place);

  form.addEventListener("keydown", (key) => {
    const input = key.target;
    if (input.matches(PICKER)) {
      const shown = owner === input && !list.hidden;
      if ((key.key === "ArrowDown" || key.key === "ArrowUp") && (shown || input.tagName === "INPUT")) {
        key.preventDefault();
        if (!shown) open(input);
        if (!list.hidden) move(key.key === "ArrowDown" ? 1 : -1);
        return;
      }
      if (key.key === "Escape" && shown) { key.preventDefault(); close(); return; }
      if (key.key === "Enter" && shown && active >= 0) { key.preventDefault(); choose(list.children[active]); return; }
    }
    // Enter in a field must not send the form half filled.
    if (key.key === "Enter" && input.matches("input:not([type=radio])")) key.preventDefault();
  });

  // --- Transforms as chips ---------------------------------------------------

  const functions = [...document.querySelectorAll("#transforms dt")].map((term) => ({ text: term.textContent, help: term.nextElementSibling.firstChild.textContent }));

  // Divide `trim | replace "|" ""` at the bars outside quotes.
  const stepsOf = (text) => (text.match(/(?:"(?:[^"\\]|\\.)*"|[^|"])+/g) || []).map((step) => step.trim()).filter(Boolean);

  function chips(input) {
    const place = input.closest(".steps");
    let box = place.querySelector(".chips");
    if (!box) {
      const add = build("select", {}, build("option", { value: "", textContent: "Add a transform…" }),
        ...functions.map((one) => build("option", { value: one.text, textContent: `${one.text}: ${one.help}` })));
      add.setAttribute("aria-label", "Add a transform");
      add.addEventListener("change", (event) => {
        event.stopPropagation();
        if (!add.value) return;
        input.value = [...stepsOf(input.value), add.value].join(" | ");
        add.value = "";
        typed(input);
      });
      box = build("div", { className: "chips" });
      place.append(box, add);
    }
    box.replaceChildren(...stepsOf(input.value).map((step, number) => {
      const remove = build("button", { type: "button", className: "plain", textContent: "✕" });
      remove.setAttribute("aria-label", `Remove ${step}`);
      remove.addEventListener("click", () => {
        input.value = stepsOf(input.value).filter((_, other) => other !== number).join(" | ");
        typed(input);
        input.focus();
      });
      return build("span", { className: "chip" }, step, remove);
    }));
  }

  form.addEventListener("input", (event) => {
    if (event.target.matches?.("input[name$='.pipe']")) chips(event.target);
  });

  // --- Event type: its usual or pinned name, and the fields that it should have -------------------

  let given = "";
  document.getElementById("f-event_type").addEventListener("change", (chosen) => {
    const option = chosen.target.selectedOptions[0];
    const name = document.getElementById("f-event_name");
    if (option.dataset.eventName && (!name.value || name.value === given)) {
      given = name.value = option.dataset.eventName;
      typed(name);
    }
    if (form.dataset.new === undefined) return;
    for (const [field, path] of Object.entries(JSON.parse(option.dataset.add || "{}"))) {
      const parts = ["path", "default"].map((part) => form.elements[`fields.${field}.${part}`]);
      if (parts.every((part) => !part?.value)) parts[0].value = path;
    }
  });

  // --- Results by row ----------------------------------------------------------

  document.addEventListener("htmx:after:swap", () => {
    const results = document.getElementById("results");
    if (!results) return;
    const found = new Map([...results.querySelectorAll("[data-for]")].map((one) => [one.dataset.for, one]));
    for (const place of form.querySelectorAll(".result")) {
      const result = found.get(place.id.slice(2));
      place.replaceChildren(...(result ? [...result.childNodes] : []));
    }
    const json = document.getElementById("json");
    // The JSON follows the form, but not while it is edited.
    if (json.value === json.defaultValue) json.value = json.defaultValue = results.querySelector("pre").textContent;
    results.remove();
    show();
  });

  // --- Unsaved changes -----------------------------------------------------------

  const rowsAtFirst = document.querySelectorAll("#custom .row").length;
  let leaving = false;

  function isChanged() {
    if (form.dataset.unsaved !== undefined || document.querySelectorAll("#custom .row").length !== rowsAtFirst) return true;
    return [...form.elements].some((field) => {
      if (!field.name || ["sample", "json", "zone"].includes(field.name) || field.type === "hidden" || field.tagName === "BUTTON") return false;
      if (field.type === "radio" || field.type === "checkbox") return field.checked !== field.defaultChecked;
      if (field.tagName === "SELECT") {
        const before = [...field.options].findIndex((option) => option.defaultSelected);
        return field.selectedIndex !== Math.max(0, before);
      }
      return field.value !== field.defaultValue;
    });
  }

  const sign = document.getElementById("unsaved");
  function show() {
    const changed = isChanged();
    if (changed === (sign.dataset.on === "yes")) return;
    sign.dataset.on = changed ? "yes" : "no";
    sign.replaceChildren(...(changed ? [build("span", { className: "pill warn", textContent: "Unsaved changes" })] : []));
  }
  form.addEventListener("input", show);
  form.addEventListener("change", show);
  // An event that is pasted into an unchanged new mapping fills it in.
  document.getElementById("sample").addEventListener("paste", (pasted) => setTimeout(() => {
    const suggest = form.querySelector("[name=then][value=suggest]");
    if (!suggest || isChanged() || !form.getAttribute("action").endsWith("/mappings/new")) return;
    try { JSON.parse(pasted.target.value); } catch { return; }
    suggest.click();
  }));
  // A double click must not create two mappings.
  form.addEventListener("submit", (sent) => {
    if (leaving) sent.preventDefault();
    leaving = true;
    setTimeout(() => { leaving = false; }, 5000); // allow another try after a cancelled request
  });
  addEventListener("pageshow", () => { leaving = false; show(); });
  addEventListener("beforeunload", (leave) => {
    if (!leaving && form.querySelector("[name=then][value=stay]") && isChanged()) leave.preventDefault();
  });

  function prepare(root) {
    for (const input of root.querySelectorAll(PICKER)) {
      input.removeAttribute("list"); // the browser's own list would cover this one
      if (input.tagName === "INPUT") input.setAttribute("role", "combobox"); // a textarea takes no other role
      expand(input, false);
      input.setAttribute("aria-autocomplete", "list");
      input.setAttribute("aria-controls", "picker");
    }
    for (const input of root.querySelectorAll(".extras input[name$='.pipe']")) chips(input);
  }

  prepare(document);
  for (const rows of document.querySelectorAll("[data-next]")) count(rows);
  show();
})();
